//! Doors: which crate may depend on which.

use crate::finding::{Error, Finding};
use crate::plan::Plan;
use crate::rule::House;
use crate::workspace::{Doors, Workspace};

/// Rooms open only onto the rooms the plan names, and every door leads to a lower floor.
///
/// # Errors
/// `cargo metadata` failed.
pub fn doors(house: &House) -> Result<Vec<Finding>, Error> {
    let workspace = house.workspace()?;
    let mut found = upward_doors(&house.plan);
    for package in workspace.members() {
        let name = package.name.as_str();
        let Some(may_use) = house.plan.doors(name) else {
            continue;
        };
        for door in Workspace::dependencies(package, Doors::Shipped) {
            if house.plan.names().contains(door) && !may_use.contains(door) {
                found.push(Finding::new(name, format!(
                    "may not use {door}; remove the dependency, or write a decision and add the door to house.toml"
                )));
            }
        }
        for door in Workspace::dependencies(package, Doors::Tests) {
            let workshop = house.plan.workshop.contains_key(door);
            if house.plan.names().contains(door) && !may_use.contains(door) && !workshop {
                found.push(Finding::new(
                    name,
                    format!(
                        "may not use {door} in its tests; test against the fake in aaos-testkit"
                    ),
                ));
            }
        }
    }
    Ok(found)
}

fn upward_doors(plan: &Plan) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, room) in plan.rooms() {
        for door in &room.may_use {
            if plan.floor(door).is_none_or(|below| below >= room.floor) {
                let advice =
                    format!("lists a door to {door}, which is not on a lower floor; remove it");
                found.push(Finding::new(format!("house.toml, {name}"), advice));
            }
        }
    }
    found
}

/// Every crate of the workspace is on the plan with a purpose, and the plan names no other.
///
/// # Errors
/// `cargo metadata` failed.
pub fn plan(house: &House) -> Result<Vec<Finding>, Error> {
    let workspace = house.workspace()?;
    let members: Vec<_> = workspace
        .members()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let planned = house.plan.names();
    let mut found = Vec::new();
    for name in members.iter().filter(|name| !planned.contains(*name)) {
        found.push(Finding::new(
            name,
            "is not on the plan; give it a table in house.toml",
        ));
    }
    for name in planned.iter().filter(|name| !members.contains(*name)) {
        found.push(Finding::new(
            "house.toml",
            format!("names {name}, which is no crate; remove its table"),
        ));
    }
    for name in planned {
        if house
            .plan
            .purpose(name)
            .is_none_or(|purpose| purpose.trim().is_empty())
        {
            found.push(Finding::new(
                format!("house.toml, {name}"),
                "has no purpose; say it in one sentence",
            ));
        }
    }
    Ok(found)
}

/// Nothing that ships depends on a workshop.
///
/// # Errors
/// `cargo metadata` failed.
pub fn workshops(house: &House) -> Result<Vec<Finding>, Error> {
    let workspace = house.workspace()?;
    let mut found = Vec::new();
    for package in workspace.members() {
        let shipped = Workspace::dependencies(package, Doors::Shipped);
        for door in shipped
            .into_iter()
            .filter(|door| house.plan.workshop.contains_key(*door))
        {
            let advice = format!("ships {door}; move it to [dev-dependencies]");
            found.push(Finding::new(package.name.as_str(), advice));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{doors, plan};
    use crate::finding::Finding;
    use crate::rule::House;

    fn advice(found: Vec<Finding>) -> String {
        found
            .into_iter()
            .map(|finding| format!("{finding}\n"))
            .collect()
    }

    #[test]
    fn a_door_the_plan_does_not_name_is_refused() {
        let mut house = House::here().unwrap();
        house
            .plan
            .room
            .get_mut("aaos-ports")
            .unwrap()
            .may_use
            .clear();
        let said = advice(doors(&house).unwrap());
        assert!(said.contains("aaos-ports: may not use aaos-core"), "{said}");
    }

    #[test]
    fn a_door_that_leads_up_or_sideways_is_refused_even_on_the_plan() {
        let mut house = House::here().unwrap();
        house
            .plan
            .room
            .get_mut("aaos-ports")
            .unwrap()
            .may_use
            .insert("aaos-tools".into());
        let said = advice(doors(&house).unwrap());
        assert!(
            said.contains("lists a door to aaos-tools, which is not on a lower floor"),
            "{said}"
        );
    }

    #[test]
    fn a_crate_without_a_table_and_a_table_without_a_crate_are_both_named() {
        let mut house = House::here().unwrap();
        let room = house.plan.room.remove("aaos-net").unwrap();
        house.plan.room.insert("aaos-attic".into(), room);
        let said = advice(plan(&house).unwrap());
        assert!(said.contains("aaos-net: is not on the plan"), "{said}");
        assert!(
            said.contains("names aaos-attic, which is no crate"),
            "{said}"
        );
    }
}
