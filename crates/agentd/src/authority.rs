//! The operator's side of authority: what a run may do, worked out from a profile, `--grant` and `--deny`.
//!
//! The planner has no say here. What is denied is out of the result for certain: a grant inside a denial is dropped, a
//! grant of names loses the denied names, and a grant that only overlaps a denial is refused, because no capability
//! says "all but this piece".

use aaos_core::capability::{
    Capability, FileRight, HostScope, HttpScope, NamePattern, NameScope, PathScope, Resource,
};
use std::path::Path;

/// Most grants and denials of one run.
pub(crate) const GRANTS_MAX: usize = 256;

/// Names that `*` stands for, so that a denied name can be taken out of it.
pub(crate) struct Names {
    /// Every tool.
    pub(crate) tools: Vec<String>,
    /// Every role.
    pub(crate) roles: Vec<String>,
}

/// Why a run's authority was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}. {next_step}")]
pub(crate) struct AuthorityError {
    /// What is wrong.
    pub(crate) problem: String,
    /// What to do.
    pub(crate) next_step: String,
}

/// Takes every denial out of the grants.
///
/// # Errors
/// A grant overlaps a denial and cannot be cut to what is left.
pub(crate) fn envelope(
    grants: Vec<Capability>,
    deny: &[Capability],
    names: &Names,
) -> Result<Vec<Capability>, AuthorityError> {
    if grants.len() > GRANTS_MAX || deny.len() > GRANTS_MAX {
        return Err(AuthorityError {
            problem: format!("more than {GRANTS_MAX} grants or denials"),
            next_step: "Grant directories instead of single files".to_owned(),
        });
    }
    let mut held = Vec::with_capacity(grants.len());
    for grant in grants {
        let rest = deny
            .iter()
            .try_fold(Some(grant), |grant, denial| match grant {
                Some(grant) => without(grant, denial, names),
                None => Ok(None),
            })?;
        match rest {
            Some(grant) if !held.contains(&grant) => held.push(grant),
            _ => {}
        }
    }
    Ok(held)
}

/// The grant without what is denied; none if nothing is left. A denial's limits say nothing: what is denied is denied.
fn without(
    grant: Capability,
    denial: &Capability,
    names: &Names,
) -> Result<Option<Capability>, AuthorityError> {
    let rest = match (&grant.resource, &denial.resource) {
        (held, denied) if denied.reaches(held) => return Ok(None),
        (Resource::Tool(held), Resource::Tool(denied)) => {
            Some(left_of(held, denied, &names.tools).map(Resource::Tool))
        }
        (Resource::Spawn(held), Resource::Spawn(denied)) => {
            Some(left_of(held, denied, &names.roles).map(Resource::Spawn))
        }
        (held, denied) if are_apart(held, denied) => return Ok(Some(grant)),
        _ => None,
    };
    match rest {
        Some(resource) => Ok(resource.map(|resource| Capability {
            resource,
            limits: grant.limits,
        })),
        None => Err(AuthorityError {
            problem: format!(
                "the grant `{grant}` overlaps the denial `{denial}`, and no grant says \"all but that\""
            ),
            next_step: format!(
                "Deny `{}` as a whole and grant the parts that are to stay with --grant",
                grant.resource
            ),
        }),
    }
}

/// Names held and not denied: as they are if none is denied, the known ones spelled out otherwise, none if none is left.
fn left_of(held: &NameScope, denied: &NameScope, known: &[String]) -> Option<NameScope> {
    if !names_meet(held, denied) {
        return Some(held.clone());
    }
    let left = known
        .iter()
        .filter(|name| held.matches(name) && !denied.matches(name));
    let left: Vec<NamePattern> = left.map(|name| NamePattern::Exact(name.clone())).collect();
    (!left.is_empty()).then(|| NameScope::list(left))
}

/// Whether some name is in both.
fn names_meet(one: &NameScope, other: &NameScope) -> bool {
    let meet = |one: &NamePattern, other: &NamePattern| match (one, other) {
        (NamePattern::Exact(one), NamePattern::Exact(other)) => one == other,
        (NamePattern::Exact(name), NamePattern::Prefix(beginning))
        | (NamePattern::Prefix(beginning), NamePattern::Exact(name)) => {
            name.starts_with(beginning.as_str())
        }
        (NamePattern::Prefix(one), NamePattern::Prefix(other)) => {
            one.starts_with(other.as_str()) || other.starts_with(one.as_str())
        }
    };
    one.patterns()
        .any(|pattern| other.patterns().any(|denied| meet(pattern, denied)))
}

/// Whether no act is allowed by both. In doubt, no.
fn are_apart(one: &Resource, other: &Resource) -> bool {
    match (one, other) {
        (
            Resource::Files { right, scope },
            Resource::Files {
                right: denied,
                scope: beneath,
            },
        ) => right != denied || paths_apart(scope, beneath),
        (
            Resource::Memory { right, scope },
            Resource::Memory {
                right: denied,
                scope: beneath,
            },
        ) => right != denied || !names_meet(scope, beneath),
        (Resource::Http(one), Resource::Http(other)) => http_apart(one, other),
        (Resource::Message(one), Resource::Message(other)) => !names_meet(one, other),
        (Resource::Exec(one), Resource::Exec(other)) => one.program != other.program,
        (Resource::Custom { name, .. }, Resource::Custom { name: denied, .. }) => name != denied,
        _ => one.kind() != other.kind(),
    }
}

/// Whether two path scopes share no path: their literal beginnings lead apart.
fn paths_apart(one: &PathScope, other: &PathScope) -> bool {
    let (one, other) = (one.root(), other.root());
    let (one, other) = (Path::new(&one), Path::new(&other));
    !one.starts_with(other) && !other.starts_with(one)
}

fn http_apart(one: &HttpScope, other: &HttpScope) -> bool {
    let schemes = ["http", "https"]
        .iter()
        .all(|scheme| !(one.schemes.includes(scheme) && other.schemes.includes(scheme)));
    let ports = matches!((one.port, other.port), (Some(one), Some(other)) if one != other);
    let prefix = one
        .path_prefix
        .iter()
        .zip(&other.path_prefix)
        .any(|(one, other)| one != other);
    schemes
        || ports
        || prefix
        || one.methods.is_disjoint(&other.methods)
        || hosts_apart(&one.host, &other.host)
}

fn hosts_apart(one: &HostScope, other: &HostScope) -> bool {
    match (one, other) {
        (HostScope::Exact(one), HostScope::Exact(other)) => one != other,
        (HostScope::Exact(host), HostScope::Suffix(domain))
        | (HostScope::Suffix(domain), HostScope::Exact(host)) => !host
            .strip_suffix(domain.as_str())
            .is_some_and(|rest| rest.ends_with('.')),
        _ => false,
    }
}

/// What the system-wide daemon asks before it acts for an operator: a file grant must lie beneath something that is the
/// operator's own. In a per-user daemon this holds by itself, because it has the operator's own authority.
///
/// # Errors
/// The grant reaches what is not the operator's.
pub(crate) fn check_owner(
    grant: &Capability,
    operator: u32,
    owner_of: impl Fn(&Path) -> Option<u32>,
) -> Result<(), AuthorityError> {
    let Resource::Files { right, scope } = &grant.resource else {
        return Ok(());
    };
    let root = scope.root();
    // The deepest part that exists: what is not there yet would be made beneath it.
    let owner = Path::new(&root).ancestors().find_map(&owner_of);
    if operator == 0 || owner == Some(operator) {
        return Ok(());
    }
    let act = match right {
        FileRight::Read => "read",
        FileRight::Write => "write",
    };
    Err(AuthorityError {
        problem: format!(
            "`{grant}` would have the daemon {act} {root} for you, and that is not yours"
        ),
        next_step: "Grant a directory that belongs to you".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]
    use super::*;

    fn capabilities(lines: &[&str]) -> Vec<Capability> {
        lines
            .iter()
            .map(|line| aaos_core::capability::parse_in(line, "/home/ada/work").unwrap())
            .collect()
    }

    fn rest(grants: &[&str], deny: &[&str]) -> Result<Vec<String>, AuthorityError> {
        let names = Names {
            tools: ["echo", "web_fetch"].map(str::to_owned).to_vec(),
            roles: ["fetcher", "writer"].map(str::to_owned).to_vec(),
        };
        let held = envelope(capabilities(grants), &capabilities(deny), &names)?;
        Ok(held.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_grant_inside_a_denial_is_gone() {
        let left = rest(
            &["file_read: ./**", "file_write: ./**"],
            &["file_write: /**"],
        )
        .unwrap();
        assert_eq!(
            left,
            capabilities(&["file_read: ./**"])
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        );
        assert!(rest(&["http: GET *"], &["http: GET *"]).unwrap().is_empty());
        let carrying = ["http: GET https://a.example using key"];
        assert!(rest(&carrying, &["http: GET *"]).unwrap().is_empty());
    }

    #[test]
    fn a_denied_name_is_taken_out_of_every_name() {
        let left = rest(&["tool: *", "spawn: *"], &["tool: web_fetch"]).unwrap();
        assert_eq!(left, ["tool: echo", "spawn: *"]);
    }

    #[test]
    fn a_grant_that_cannot_be_cut_is_refused_and_says_why() {
        let error = rest(&["file_read: ./**"], &["file_read: ./secret/**"]).unwrap_err();
        assert!(error.problem.contains("overlaps"), "{error}");
        assert!(rest(&["http: GET *"], &["http: GET evil.example"]).is_err());
    }

    #[test]
    fn what_lies_apart_is_untouched() {
        let left = rest(
            &["file_read: ./**", "http: GET a.example"],
            &["file_read: /etc/**", "http: GET b.example"],
        )
        .unwrap();
        assert_eq!(left.len(), 2);
    }

    #[test]
    fn the_system_daemon_reads_nothing_for_an_operator_that_is_not_the_operators() {
        let owner_of = |path: &Path| match path.to_str() {
            Some("/home/ada") => Some(1000),
            Some("/" | "/etc") => Some(0),
            _ => None,
        };
        let grant = |line| capabilities(&[line]).remove(0);
        assert!(check_owner(&grant("file_read: ./new/**"), 1000, owner_of).is_ok());
        assert!(check_owner(&grant("file_read: /etc/**"), 1000, owner_of).is_err());
        assert!(check_owner(&grant("file_write: ./**"), 1001, owner_of).is_err());
        assert!(check_owner(&grant("tool: *"), 1001, owner_of).is_ok());
    }
}
