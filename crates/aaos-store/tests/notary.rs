//! Signed heads: a cut tail, another history, a forged or foreign signature are named; the key stays with its owner.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod shelf;

use aaos_core::{event::Kind, event::Seq, time::Timestamp};
use aaos_ports::{Durability, Filter, Journal, JournalError};
use aaos_store::{
    Options, Store,
    audit::{Against, BrokenLink, HeadCheck, verify, verify_against},
    notary::{HEAD_FILE, KEY_FILE, Key, Notary, PUBLIC_FILE, Pace, SignedHead},
};
use aaos_testkit::{clock::FakeClock, journal::draft};
use shelf::{add, open, sql};
use std::{num::NonZeroU64, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

const NOW: Timestamp = Timestamp::from_micros(7);

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A journal of three events, their signed head, and two more events.
async fn journal() -> (tempfile::TempDir, SignedHead) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = Key::open(dir.path()).unwrap();
    add(&store, 3, Durability::Ordered).await;
    let signed = store.sign_head(&key, NOW).await.unwrap().unwrap();
    add(&store, 2, Durability::Ordered).await;
    store.close().await;
    (dir, signed)
}

#[tokio::test]
async fn the_key_is_made_once_and_only_its_owner_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = Key::open(dir.path()).unwrap();
    assert_eq!(mode(&dir.path().join(KEY_FILE)), 0o600);
    assert_eq!(mode(&dir.path().join(PUBLIC_FILE)), 0o644);
    let public = std::fs::read_to_string(dir.path().join(PUBLIC_FILE)).unwrap();
    assert_eq!(public.trim(), first.public());
    assert_eq!(Key::open(dir.path()).unwrap().public(), first.public());
    assert_eq!(format!("{first:?}"), format!("Key({})", first.public()));
    for wide in [0o640, 0o604, 0o660] {
        let path = dir.path().join(KEY_FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(wide)).unwrap();
        let refused = Key::open(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }
}

#[tokio::test]
async fn a_key_that_is_a_link_or_no_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    Key::open(other.path()).unwrap();
    let path = dir.path().join(KEY_FILE);
    std::os::unix::fs::symlink(other.path().join(KEY_FILE), &path).unwrap();
    assert!(matches!(
        Key::open(dir.path()),
        Err(JournalError::Storage { .. })
    ));
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"no key").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let refused = Key::open(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("no Ed25519 key"), "{refused}");
}

#[tokio::test]
async fn a_signed_head_is_an_event_and_a_file_and_holds() {
    let (dir, signed) = journal().await;
    assert!(signed.holds());
    assert_eq!(signed.seq, 3);
    let beside: SignedHead =
        serde_json::from_slice(&std::fs::read(dir.path().join(HEAD_FILE)).unwrap()).unwrap();
    assert_eq!(beside, signed);
    let store = open(dir.path());
    let events = store.read(&Filter::default(), Seq(3), 1).await.unwrap();
    assert!(
        matches!(&events[0].kind, Kind::HeadSigned { head: 3, signature, .. } if *signature == signed.signature)
    );
    store.close().await;
    let report = verify(dir.path()).unwrap();
    assert!(report.whole(), "{report:?}");
    assert_eq!((report.heads_signed, report.heads_bad), (1, 0));
    assert_eq!(report.head_beside, HeadCheck::Holds { seq: 3 });
    assert_eq!(report.keys, [signed.key]);
}

#[tokio::test]
async fn nothing_new_is_not_signed_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = Key::open(dir.path()).unwrap();
    assert_eq!(store.sign_head(&key, NOW).await.unwrap(), None);
    add(&store, 1, Durability::Ordered).await;
    assert!(store.sign_head(&key, NOW).await.unwrap().is_some());
    assert_eq!(store.sign_head(&key, NOW).await.unwrap(), None);
}

/// Takes events off the end as somebody would who knows the journal's own tables.
fn cut(dir: &Path, last: u64) {
    sql(
        dir,
        &format!(
            "DELETE FROM events WHERE seq > {last}; \
             UPDATE head SET seq = {last}, hash = (SELECT hash FROM events WHERE seq = {last})"
        ),
    );
}

#[tokio::test]
async fn a_tail_cut_below_the_signed_head_is_refused_at_open_and_named_by_verify() {
    let (dir, _) = journal().await;
    cut(dir.path(), 2);
    match Store::open(dir.path(), Options::standard()) {
        Err(JournalError::Damaged {
            seq: 3, message, ..
        }) => {
            assert!(message.contains("missing at the end") && message.contains(HEAD_FILE));
        }
        other => panic!("{other:?}"),
    }
    let report = verify(dir.path()).unwrap();
    assert!(report.first_broken.is_none() && !report.whole());
    assert_eq!(report.head_beside, HeadCheck::Cut { seq: 3 });
}

#[tokio::test]
async fn a_head_kept_elsewhere_shows_a_cut_that_took_the_file_along() {
    let (dir, signed) = journal().await;
    let kept = tempfile::tempdir().unwrap();
    let (copy, lines) = (kept.path().join("head"), kept.path().join("events.ndjson"));
    std::fs::copy(dir.path().join(HEAD_FILE), &copy).unwrap();
    aaos_store::audit::export(
        dir.path(),
        &aaos_store::audit::ExportFilter::default(),
        std::fs::File::create(&lines).unwrap(),
    )
    .unwrap();
    for beside in [HEAD_FILE, "head.confirmed"] {
        std::fs::remove_file(dir.path().join(beside)).unwrap();
    }
    cut(dir.path(), 2);
    drop(open(dir.path()));
    assert!(verify(dir.path()).unwrap().whole());
    for file in [copy, lines] {
        let against = Against {
            head: Some(file),
            key: Some(signed.key.clone()),
        };
        let report = verify_against(dir.path(), &against).unwrap();
        assert_eq!(report.head_kept, HeadCheck::Cut { seq: 3 });
        assert!(!report.whole());
    }
}

#[tokio::test]
async fn a_history_made_anew_differs_from_the_head() {
    let (dir, signed) = journal().await;
    let (other, _) = {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        for number in 0..9 {
            let drafts = vec![draft(2, None, &format!("lie {number}"))];
            store.append(drafts, Durability::Ordered).await.unwrap();
        }
        store.close().await;
        (dir, ())
    };
    let against = Against {
        head: Some(dir.path().join(HEAD_FILE)),
        key: None,
    };
    let report = verify_against(other.path(), &against).unwrap();
    assert_eq!(report.head_kept, HeadCheck::Differs { seq: 3 });
    std::fs::copy(dir.path().join(HEAD_FILE), other.path().join(HEAD_FILE)).unwrap();
    assert!(matches!(
        Store::open(other.path(), Options::standard()),
        Err(JournalError::Damaged { seq: 3, .. })
    ));
    assert!(signed.holds());
}

#[tokio::test]
async fn a_forged_head_and_a_foreign_key_are_told_apart() {
    let (dir, signed) = journal().await;
    let path = dir.path().join(HEAD_FILE);
    let forged = SignedHead {
        seq: 2,
        ..signed.clone()
    };
    std::fs::write(&path, serde_json::to_vec(&forged).unwrap()).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.head_beside, HeadCheck::Forged { seq: 2 });
    assert!(matches!(
        Store::open(dir.path(), Options::standard()),
        Err(JournalError::Storage { next_step, .. }) if next_step.contains("audit verify")
    ));
    std::fs::write(&path, serde_json::to_vec(&signed).unwrap()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Key::open(elsewhere.path()).unwrap();
    let against = Against {
        head: None,
        key: Some(stranger.public().to_owned()),
    };
    let report = verify_against(dir.path(), &against).unwrap();
    assert!(matches!(report.head_beside, HeadCheck::OtherKey { .. }));
    assert_eq!(report.keys_other, 1);
    std::fs::write(&path, b"garbage").unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(matches!(report.head_beside, HeadCheck::Unreadable { .. }));
    assert!(Store::open(dir.path(), Options::standard()).is_err());
}

#[tokio::test]
async fn the_first_bad_signature_among_the_events_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = Key::open(dir.path()).unwrap();
    add(&store, 2, Durability::Ordered).await;
    let signed = store.sign_head(&key, NOW).await.unwrap().unwrap();
    let lie = aaos_core::event::Draft {
        time: NOW,
        subject: aaos_core::event::Subject::default(),
        kind: Kind::HeadSigned {
            head: 1,
            hash: signed.hash.clone(),
            key: signed.key.clone(),
            signature: signed.signature.clone(),
        },
    };
    store.append(vec![lie], Durability::Durable).await.unwrap();
    store.close().await;
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.heads_signed, report.heads_bad), (2, 1));
    assert_eq!(report.first_bad_head.as_ref().map(|bad| bad.seq), Some(4));
    assert!(!report.whole());
}

#[tokio::test]
async fn the_notary_signs_after_so_many_events_and_once_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let key = Key::open(dir.path()).unwrap();
    let pace = Pace {
        events: NonZeroU64::new(5).unwrap(),
        every: Duration::from_secs(3_600),
    };
    let notary = Notary::start(
        Arc::clone(&store),
        Arc::new(FakeClock::default()),
        key,
        pace,
    );
    let filter = Filter {
        kinds: vec!["head_signed".to_owned()],
        ..Filter::default()
    };
    let mut heads = store.watch(filter.clone(), Seq(0));
    add(&store, 5, Durability::Ordered).await;
    let first = tokio::time::timeout(
        Duration::from_secs(30),
        futures::StreamExt::next(&mut heads),
    )
    .await;
    assert!(matches!(first, Ok(Some(Ok(_)))), "{first:?}");
    add(&store, 1, Durability::Ordered).await;
    notary.close().await;
    let heads = store.read(&filter, Seq(0), 10).await.unwrap();
    assert!(heads.len() >= 2, "{heads:?}");
    let last = heads.last().unwrap();
    assert_eq!(last.seq, store.head(), "the end is signed");
    store.close().await;
    assert!(verify(dir.path()).unwrap().whole());
}

#[tokio::test]
async fn the_notary_signs_after_so_long_if_there_is_anything_new() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()));
    let pace = Pace {
        events: NonZeroU64::MAX,
        every: Duration::from_millis(20),
    };
    add(&store, 1, Durability::Ordered).await;
    let key = Key::open(dir.path()).unwrap();
    let notary = Notary::start(
        Arc::clone(&store),
        Arc::new(FakeClock::default()),
        key,
        pace,
    );
    let filter = Filter {
        kinds: vec!["head_signed".to_owned()],
        ..Filter::default()
    };
    let mut heads = store.watch(filter, Seq(0));
    for _ in 0..2 {
        let next = futures::StreamExt::next(&mut heads);
        assert!(matches!(
            tokio::time::timeout(Duration::from_secs(30), next).await,
            Ok(Some(Ok(_)))
        ));
        add(&store, 1, Durability::Ordered).await;
    }
    notary.close().await;
    store.close().await;
    assert_eq!(
        verify(dir.path()).unwrap().first_broken.map(|b| b.link),
        None::<BrokenLink>
    );
}
