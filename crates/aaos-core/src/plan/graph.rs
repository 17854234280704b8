//! A plan's shape: who needs whom, by position. Refuses nothing: what is unknown is listed, not an error.

use super::Plan;
use crate::id::SubtaskId;
use std::collections::BTreeMap;

/// Positions stand for subtasks, in plan order. A name that comes twice means its first bearer.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    index: BTreeMap<SubtaskId, usize>,
    needs: Vec<Vec<usize>>,
    dependents: Vec<Vec<usize>>,
    unknown: Vec<Vec<SubtaskId>>,
}

impl Graph {
    pub(super) fn of(plan: &Plan) -> Self {
        let count = plan.subtasks.len();
        let mut index = BTreeMap::new();
        for (position, subtask) in plan.subtasks.iter().enumerate() {
            index.entry(subtask.id.clone()).or_insert(position);
        }
        let mut graph = Self {
            index,
            needs: vec![Vec::new(); count],
            dependents: vec![Vec::new(); count],
            unknown: vec![Vec::new(); count],
        };
        for (position, subtask) in plan.subtasks.iter().enumerate() {
            subtask
                .needs()
                .into_iter()
                .for_each(|need| graph.connect(position, need));
        }
        graph
    }

    fn connect(&mut self, position: usize, need: SubtaskId) {
        let Some(&source) = self.index.get(&need) else {
            if let Some(unknown) = self.unknown.get_mut(position) {
                unknown.push(need);
            }
            return;
        };
        if let Some(needs) = self.needs.get_mut(position) {
            needs.push(source);
        }
        if let Some(dependents) = self.dependents.get_mut(source) {
            dependents.push(position);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.needs.len()
    }

    pub(super) fn position(&self, id: &SubtaskId) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// What the one at `position` needs, by position.
    pub(super) fn needs(&self, position: usize) -> &[usize] {
        self.needs.get(position).map_or(&[], Vec::as_slice)
    }

    /// Those that need the one at `position`.
    pub(super) fn dependents(&self, position: usize) -> &[usize] {
        self.dependents.get(position).map_or(&[], Vec::as_slice)
    }

    /// Names that the one at `position` needs and no subtask bears.
    pub(super) fn unknown(&self, position: usize) -> &[SubtaskId] {
        self.unknown.get(position).map_or(&[], Vec::as_slice)
    }

    /// Positions so that each comes after all it needs. Those on or behind a cycle are left out.
    pub(super) fn ordered(&self) -> Vec<usize> {
        let mut missing: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        let mut order: Vec<usize> = (0..self.len())
            .filter(|position| self.needs(*position).is_empty())
            .collect();
        let mut next = 0;
        while let Some(&position) = order.get(next) {
            next += 1;
            for &dependent in self.dependents(position) {
                if let Some(left) = missing.get_mut(dependent) {
                    *left = left.saturating_sub(1);
                    if *left == 0 {
                        order.push(dependent);
                    }
                }
            }
        }
        order
    }

    /// Longest way from a root to each, in steps; none for those on or behind a cycle.
    pub(super) fn depths(&self) -> Vec<Option<u32>> {
        let mut depths = vec![None; self.len()];
        for position in self.ordered() {
            let above = self
                .needs(position)
                .iter()
                .filter_map(|need| depths.get(*need).copied().flatten())
                .max();
            if let Some(depth) = depths.get_mut(position) {
                *depth = Some(above.map_or(0, |above: u32| above.saturating_add(1)));
            }
        }
        depths
    }

    /// One cycle, each needing the next and the last the first; none if there is none.
    pub(super) fn cycle(&self) -> Option<Vec<usize>> {
        let mut stuck = vec![true; self.len()];
        for position in self.ordered() {
            if let Some(mark) = stuck.get_mut(position) {
                *mark = false;
            }
        }
        // Every stuck one needs another stuck one, so following needs must come back to where it was.
        let is_stuck = |position: &usize| stuck.get(*position).copied().unwrap_or(false);
        let mut seen_at: BTreeMap<usize, usize> = BTreeMap::new();
        let mut path = Vec::new();
        let mut here = (0..self.len()).find(is_stuck)?;
        while !seen_at.contains_key(&here) {
            seen_at.insert(here, path.len());
            path.push(here);
            here = self.needs(here).iter().copied().find(is_stuck)?;
        }
        let start = seen_at.get(&here).copied()?;
        Some(path.split_off(start))
    }
}
