//! What in a git repository makes git start programs: hooks, configuration, and the file that says where both are.
//!
//! An operator who runs git in a directory an agent has worked in would run what the agent put there, with the
//! operator's authority. Writing these is refused at any depth, whatever is granted.

use super::fault;
use aaos_ports::PowerError;

/// Files that name programs, and the one that says in which other directory git looks for those and for hooks.
/// Source: gitrepository-layout(5).
const CONFIGURATION: [&str; 3] = ["config", "config.worktree", "commondir"];

/// Refuses a normal path whose content git would act on.
///
/// # Errors
/// `Denied` on the axis `path`.
pub(crate) fn check(path: &str) -> Result<(), PowerError> {
    if !steers(path) {
        return Ok(());
    }
    Err(PowerError::Denied {
        need: format!("writing {}", fault::shown(path)),
        axis: "path".to_owned(),
        reason:
            "git starts programs that are named there; the operator configures hooks and repositories"
                .to_owned(),
    })
}

/// Whether git starts programs because of what is at a path. Names are compared as git compares them on file systems
/// that do not tell upper case from lower case.
fn steers(path: &str) -> bool {
    let is = |name: &str, known: &str| name.eq_ignore_ascii_case(known);
    let mut names = path.split('/').skip_while(|name| !is(name, ".git"));
    if names.next().is_none() {
        return false;
    }
    let inside: Vec<&str> = names.collect();
    let Some((last, above)) = inside.split_last() else {
        // The name `.git` itself: as a file it says where the repository is.
        return true;
    };
    above.iter().any(|name| is(name, "hooks"))
        || is(last, "hooks")
        || CONFIGURATION.iter().any(|known| is(last, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_git_start_programs_is_refused_at_any_depth() {
        for path in [
            "/w/.git/hooks/pre-commit",
            "/w/.git/hooks",
            "/w/.git/config",
            "/w/a/b/.git/config",
            "/w/.git/config.worktree",
            "/w/.git/modules/sub/config",
            "/w/.git/modules/sub/hooks/x/y",
            "/w/.git/worktrees/one/config.worktree",
            "/w/.git/commondir",
            "/w/sub/.git",
            "/w/.GIT/Hooks/post-checkout",
        ] {
            let refused = check(path);
            assert!(
                matches!(&refused, Err(PowerError::Denied { axis, reason, .. }) if axis == "path" && reason.contains("operator")),
                "{path}: {refused:?}"
            );
        }
    }

    #[test]
    fn the_rest_of_a_repository_and_names_like_it_are_not() {
        for path in [
            "/w/hooks/pre-commit",
            "/w/config",
            "/w/.github/config",
            "/w/.gitignore",
            "/w/.git/HEAD",
            "/w/.git/info/exclude",
            "/w/.git/configuration",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }
}
