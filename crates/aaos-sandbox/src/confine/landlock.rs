//! Landlock: which files a worker may read, write and execute, and that it connects nowhere, whatever is mounted.
//!
//! Every right the kernel knows is handled, so what no rule allows is refused. Refuses: kernels whose Landlock cannot
//! see a file being truncated, which is before version 3.

use super::{
    Unfit,
    furnish::Furnished,
    system,
    trees::{self, Kind},
};
use crate::protocol::Policy;
use aaos_core::proof::{Layer, Profile};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort,
    PathBeneath, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope,
};
use rustix::fd::{AsFd, OwnedFd};

/// The least that will do: the first version that handles truncation.
const LEAST: ABI = ABI::V3;
/// The newest version whose rights are all handled where the kernel has them.
const BEST: ABI = ABI::V7;

/// What came of it.
pub(super) struct Ruled {
    /// The version the kernel offers.
    pub(super) abi: u32,
    /// Whether all that is required is in force.
    pub(super) enforced: bool,
    /// Whether it handles TCP.
    pub(super) tcp: bool,
}

/// What the rules are made from.
pub(super) struct Rules<'a> {
    pub(super) policy: &'a Policy,
    pub(super) furnished: &'a Furnished,
    /// Whether the worker stands in a root of its own.
    pub(super) rooted: bool,
    /// The port on its own loopback that its programs may connect to.
    pub(super) proxy: Option<u16>,
}

/// Puts this thread, and all that come from it, under the rules. Cannot be undone.
pub(super) fn restrict(rules: &Rules<'_>) -> Result<Ruled, Unfit> {
    let status = enforce(rules).map_err(|error| unfit(&error.to_string()))?;
    let abi = match status.landlock {
        LandlockStatus::Available {
            effective_abi,
            kernel_abi,
        } => kernel_abi
            .and_then(|abi| u32::try_from(abi).ok())
            .unwrap_or(effective_abi as u32),
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    Ok(Ruled {
        abi,
        enforced: abi >= LEAST as u32 && status.ruleset != RulesetStatus::NotEnforced,
        tcp: abi >= ABI::V4 as u32,
    })
}

fn unfit(found: &str) -> Unfit {
    Unfit {
        layer: Layer::Landlock,
        missing: format!("Landlock of version {} or later: {found}", LEAST as u32),
        next_step: "run Linux 6.2 or later with landlock among the modules of the boot option lsm="
            .to_owned(),
    }
}

fn enforce(rules: &Rules<'_>) -> Result<RestrictionStatus, RulesetError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(BEST))?
        .handle_access(AccessNet::from_all(BEST))?
        .scope(Scope::from_all(BEST))?
        .create()?;
    let ruleset = grants(ruleset, rules)?;
    let ruleset = if rules.rooted {
        own(ruleset, rules.policy.profile, made(rules.policy))?
    } else {
        ruleset
    };
    let ruleset = if rules.policy.profile == Profile::Exec {
        programs(ruleset, rules.policy)?
    } else {
        ruleset
    };
    let ruleset = match rules.proxy {
        Some(port) => ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?,
        None => ruleset,
    };
    ruleset.no_new_privs(false).restrict_self()
}

fn read() -> BitFlags<AccessFs> {
    AccessFs::ReadFile | AccessFs::ReadDir
}

/// Writing files and directories. Programs also make links, named pipes and sockets.
fn write(profile: Profile) -> BitFlags<AccessFs> {
    let plain = AccessFs::WriteFile
        | AccessFs::RemoveDir
        | AccessFs::RemoveFile
        | AccessFs::MakeDir
        | AccessFs::MakeReg
        | AccessFs::Refer
        | AccessFs::Truncate;
    match profile {
        Profile::Plain => plain,
        Profile::Exec => plain | AccessFs::MakeSym | AccessFs::MakeFifo | AccessFs::MakeSock,
    }
}

/// What executing what was made takes.
fn made(policy: &Policy) -> BitFlags<AccessFs> {
    if policy.profile == Profile::Exec && trees::makes_programs(policy) {
        AccessFs::Execute.into()
    } else {
        BitFlags::EMPTY
    }
}

/// A rule for one place; of a file's, only the rights that files have.
fn rule(
    ruleset: RulesetCreated,
    place: impl AsFd,
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let kind =
        rustix::fs::fstat(&place).map(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode));
    let rights = if kind == Ok(rustix::fs::FileType::Directory) {
        rights
    } else {
        rights & AccessFs::from_file(BEST)
    };
    if rights.is_empty() {
        return Ok(ruleset);
    }
    ruleset.add_rule(PathBeneath::new(place, rights))
}

/// What was granted.
fn grants(mut ruleset: RulesetCreated, rules: &Rules<'_>) -> Result<RulesetCreated, RulesetError> {
    for standing in &rules.furnished.standing {
        let rights = match standing.kind {
            Kind::Granted {
                read: may_read,
                write: may_write,
            } => {
                let mut rights = BitFlags::EMPTY;
                if may_read {
                    rights |= read();
                }
                if may_write {
                    rights |= write(rules.policy.profile) | made(rules.policy);
                }
                rights
            }
            Kind::File => AccessFs::ReadFile.into(),
            Kind::System => continue,
        };
        ruleset = rule(ruleset, &standing.top, rights)?;
    }
    Ok(ruleset)
}

/// What every worker has of its own.
fn own(
    mut ruleset: RulesetCreated,
    profile: Profile,
    made: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    // The root is read-only, so `/dev` holds its devices and nothing that was put there.
    let devices = AccessFs::ReadFile | AccessFs::WriteFile;
    let mut places = vec![("/tmp", read() | write(profile) | made)];
    match profile {
        Profile::Plain => places.push(("/dev", devices)),
        Profile::Exec => places.extend([("/proc", read()), ("/dev", devices | AccessFs::ReadDir)]),
    }
    for (path, rights) in places {
        if let Some(place) = system::open(path) {
            ruleset = rule(ruleset, place, rights)?;
        }
    }
    Ok(ruleset)
}

/// What programs run with, and which may be executed.
fn programs(mut ruleset: RulesetCreated, policy: &Policy) -> Result<RulesetCreated, RulesetError> {
    for place in system::readable() {
        ruleset = rule(ruleset, place, read())?;
    }
    let execute = AccessFs::Execute | AccessFs::ReadFile;
    for loader in system::LOADERS.iter().filter_map(|path| system::open(path)) {
        ruleset = rule(ruleset, loader, execute)?;
    }
    for program in &policy.programs {
        let opened = |path: &String| -> Option<OwnedFd> { system::open_found(path) };
        for place in program
            .execute
            .iter()
            .chain([&program.file])
            .filter_map(opened)
        {
            ruleset = rule(ruleset, place, execute | AccessFs::ReadDir)?;
        }
        for place in program.read.iter().filter_map(opened) {
            ruleset = rule(ruleset, place, read())?;
        }
    }
    Ok(ruleset)
}
