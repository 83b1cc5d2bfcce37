//! Which terms to compute: a choice of one term for each class that is needed, so that the sum of
//! costs of all chosen terms is small, each counted once.
//!
//! The best choice is hard to find in general. First each class is given the term whose set of terms
//! below it is cheapest, sets united where terms share operands; then single choices are changed as
//! long as the sum over all roots falls. The tests compare with the best of all choices.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

/// A term that a class may be computed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub cost: u64,
    /// The classes of its operands.
    pub operands: Vec<usize>,
    /// Among equal costs the least wins.
    pub rank: u32,
    /// How late it is known; of operations, the latest of the operands counts.
    pub level: u32,
}

/// A class of equal terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    pub choices: Vec<Choice>,
    /// It may depend only on what is known before.
    pub before: Option<u32>,
    /// The choice that keeps to `before` for certain, if its operands take theirs.
    pub written: Option<usize>,
}

/// The choice for each class that the roots need.
pub type Chosen = BTreeMap<usize, usize>;

/// Cost first, then the sum of ranks.
type Total = (u64, u64);

/// Choices for all that the roots need.
pub fn extract(classes: &[Class], roots: &[usize]) -> Chosen {
    let mut choices = cheapest_sets(classes);
    let Some(mut best) = total(classes, roots, &choices) else {
        let written: Choices = classes.iter().map(|class| class.written).collect();
        return needed(classes, roots, &written);
    };
    // Each round has one pass over what is needed; a few suffice.
    for _ in 0..MAX_ROUNDS {
        let before = best;
        for class in needed(classes, roots, &choices).into_keys() {
            for choice in 0..classes[class].choices.len() {
                let old = choices[class].replace(choice);
                match total(classes, roots, &choices) {
                    Some(new) if new < best => best = new,
                    _ => choices[class] = old,
                }
            }
        }
        if best == before {
            break;
        }
    }
    needed(classes, roots, &choices)
}

const MAX_ROUNDS: usize = 8;

/// A choice for each class, as far as there is one.
type Choices = Vec<Option<usize>>;

/// What computing a class takes: each class below it with the choice made there.
#[derive(Clone)]
struct Set {
    terms: BTreeMap<usize, usize>,
    total: Total,
    level: u32,
}

/// For each class the choice whose set is cheapest.
fn cheapest_sets(classes: &[Class]) -> Choices {
    let mut users = vec![Vec::new(); classes.len()];
    for (index, class) in classes.iter().enumerate() {
        for operand in class.choices.iter().flat_map(|choice| &choice.operands) {
            users[*operand].push(index);
        }
    }
    let mut sets: Vec<Option<Set>> = vec![None; classes.len()];
    let mut choices: Choices = vec![None; classes.len()];
    let mut is_open = vec![true; classes.len()];
    let mut open: VecDeque<usize> = (0..classes.len()).collect();
    while let Some(index) = open.pop_front() {
        is_open[index] = false;
        for (number, choice) in classes[index].choices.iter().enumerate() {
            let Some(set) = united(classes, index, number, choice, &sets) else { continue };
            if sets[index].as_ref().is_none_or(|known| set.total < known.total) {
                (sets[index], choices[index]) = (Some(set), Some(number));
                for &user in &users[index] {
                    if !std::mem::replace(&mut is_open[user], true) {
                        open.push_back(user);
                    }
                }
            }
        }
    }
    choices
}

/// The set of a choice; `None` if an operand has none, or needs the class itself, or is known too late.
fn united(
    classes: &[Class],
    index: usize,
    number: usize,
    choice: &Choice,
    sets: &[Option<Set>],
) -> Option<Set> {
    let mut terms = BTreeMap::from([(index, number)]);
    let mut level = choice.level;
    for operand in &choice.operands {
        let set = sets[*operand].as_ref()?;
        if set.terms.contains_key(&index) {
            return None;
        }
        level = level.max(set.level);
        match terms.len() < set.terms.len() {
            true => {
                let mut merged = set.terms.clone();
                merged.append(&mut terms);
                terms = merged;
            }
            false => set.terms.iter().for_each(|(class, choice)| {
                terms.entry(*class).or_insert(*choice);
            }),
        }
    }
    if classes[index].before.is_some_and(|before| level >= before) {
        return None;
    }
    let total = terms
        .iter()
        .fold((0, 0), |sum, (class, choice)| plus(sum, &classes[*class].choices[*choice]));
    Some(Set { terms, total, level })
}

fn plus((cost, rank): Total, choice: &Choice) -> Total {
    // A term that costs nothing still counts, so that no choice goes round in a circle.
    (cost + choice.cost * 1024 + 1, rank + u64::from(choice.rank))
}

/// For each chosen class, how late it is known.
pub fn levels(classes: &[Class], chosen: &Chosen) -> BTreeMap<usize, u32> {
    let mut levels = BTreeMap::new();
    for &start in chosen.keys() {
        let mut open = vec![(start, false)];
        while let Some((class, is_ready)) = open.pop() {
            let choice = &classes[class].choices[chosen[&class]];
            if levels.contains_key(&class) {
                continue;
            }
            if is_ready {
                let below = choice.operands.iter().map(|operand| levels[operand]);
                levels.insert(class, below.fold(choice.level, u32::max));
            } else {
                open.push((class, true));
                open.extend(choice.operands.iter().map(|operand| (*operand, false)));
            }
        }
    }
    levels
}

/// The sum over all that the roots need; `None` if a choice is missing, goes round in a circle or
/// takes what is known too late.
fn total(classes: &[Class], roots: &[usize], choices: &Choices) -> Option<Total> {
    const OPEN: u32 = u32::MAX;
    let mut levels: Vec<Option<u32>> = vec![None; classes.len()];
    let mut sum = (0, 0);
    let mut stack: Vec<(usize, usize)> = Vec::new();
    for &root in roots {
        if levels[root].is_some() {
            continue;
        }
        stack.push((root, 0));
        levels[root] = Some(OPEN);
        while let Some((class, place)) = stack.last_mut() {
            let class = *class;
            let choice = &classes[class].choices[choices[class]?];
            match choice.operands.get(*place) {
                Some(&operand) => {
                    *place += 1;
                    match levels[operand] {
                        None => {
                            levels[operand] = Some(OPEN);
                            stack.push((operand, 0));
                        }
                        Some(OPEN) => return None,
                        Some(_) => {}
                    }
                }
                None => {
                    let below = choice.operands.iter().filter_map(|operand| levels[*operand]);
                    let level = below.fold(choice.level, u32::max);
                    if classes[class].before.is_some_and(|before| level >= before) {
                        return None;
                    }
                    levels[class] = Some(level);
                    sum = plus(sum, choice);
                    stack.pop();
                }
            }
        }
    }
    Some(sum)
}

/// The choices that the roots need.
fn needed(classes: &[Class], roots: &[usize], choices: &Choices) -> Chosen {
    let mut chosen = Chosen::new();
    let mut open = roots.to_vec();
    while let Some(class) = open.pop() {
        let Some(choice) = choices[class] else { continue };
        if chosen.insert(class, choice).is_none() {
            open.extend(&classes[class].choices[choice].operands);
        }
    }
    chosen
}
