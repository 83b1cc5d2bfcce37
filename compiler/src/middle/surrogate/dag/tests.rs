use super::*;
use crate::testing::Random;

fn choice(cost: u64, operands: &[usize]) -> Choice {
    Choice { cost, operands: operands.to_vec(), rank: 0, level: 0 }
}

fn class(choices: &[Choice]) -> Class {
    Class { choices: choices.to_vec(), before: None, written: Some(0) }
}

/// The least sum of all choices, by trying them.
fn least(classes: &[Class], roots: &[usize]) -> Option<u64> {
    fn go(classes: &[Class], roots: &[usize], choices: &mut Choices) -> Option<u64> {
        let open = needed(classes, roots, choices).into_iter();
        let operands = open.flat_map(|(class, choice)| &classes[class].choices[choice].operands);
        let all = operands.chain(roots).copied();
        let Some(next) = all.filter(|class| choices[*class].is_none()).min() else {
            return total(classes, roots, choices).map(|total| total.0);
        };
        let mut best = None;
        for choice in 0..classes[next].choices.len() {
            choices[next] = Some(choice);
            let found = go(classes, roots, choices);
            best = best.into_iter().chain(found).min();
        }
        choices[next] = None;
        best
    }
    go(classes, roots, &mut vec![None; classes.len()])
}

fn sum(classes: &[Class], roots: &[usize], chosen: &Chosen) -> Option<u64> {
    let mut choices = vec![None; classes.len()];
    chosen.iter().for_each(|(class, choice)| choices[*class] = Some(*choice));
    total(classes, roots, &choices).map(|total| total.0)
}

#[test]
fn a_shared_term_is_counted_once() {
    // Two roots: each has a cheap term of its own, or one that shares a dear operand.
    let classes = [
        class(&[choice(12, &[]), choice(1, &[2])]),
        class(&[choice(12, &[]), choice(1, &[2])]),
        class(&[choice(15, &[])]),
    ];
    let chosen = extract(&classes, &[0, 1]);
    assert_eq!(sum(&classes, &[0, 1], &chosen), least(&classes, &[0, 1]).map(|_| 24 * 1024 + 2));
    // With a third user it is worth it: one change at a time would not find it.
    let shared = class(&[choice(12, &[]), choice(1, &[2])]);
    let classes = [classes.to_vec(), vec![shared]].concat();
    assert_eq!(least(&classes, &[0, 1, 3]), Some(18 * 1024 + 4));
    // A term that is there already costs nothing more.
    let there = [classes[0].clone(), classes[1].clone(), class(&[choice(0, &[])])];
    assert_eq!(extract(&there, &[0, 1]), Chosen::from([(0, 1), (1, 1), (2, 0)]));
}

#[test]
fn equal_costs_keep_what_was_written() {
    let mut other = choice(3, &[]);
    other.rank = 1;
    let classes = [class(&[other, choice(3, &[])])];
    assert_eq!(extract(&classes, &[0]), Chosen::from([(0, 1)]));
}

#[test]
fn nothing_goes_round_in_a_circle() {
    let classes =
        [class(&[choice(0, &[1]), choice(9, &[])]), class(&[choice(0, &[0]), choice(9, &[])])];
    let chosen = extract(&classes, &[0, 1]);
    assert_eq!(sum(&classes, &[0, 1], &chosen), least(&classes, &[0, 1]));
}

#[test]
fn nothing_is_taken_before_it_is_known() {
    let late = Choice { level: 5, ..choice(0, &[]) };
    let first =
        Class { before: Some(3), written: Some(1), ..class(&[late.clone(), choice(9, &[])]) };
    let second = Class { before: Some(6), written: Some(1), ..class(&[late, choice(9, &[])]) };
    let chosen = extract(&[first, second], &[0, 1]);
    assert_eq!(chosen, Chosen::from([(0, 1), (1, 0)]));
}

/// Up to nine classes; the last choice of each has only operands before it.
fn graph(random: &mut Random) -> Vec<Class> {
    let mut below = |limit: usize| (random.bits() % limit as u64) as usize;
    let count = 2 + below(7);
    let of = |index: usize| {
        let choices = 1 + below(3);
        let term = |number: usize| {
            let limit = if number + 1 == choices { index } else { count };
            let operands = if limit == 0 { 0 } else { below(3) };
            let cost = below(30) as u64;
            choice(cost, &(0..operands).map(|_| below(limit)).collect::<Vec<_>>())
        };
        let written = Some(choices - 1);
        Class { written, ..class(&(0..choices).map(term).collect::<Vec<_>>()) }
    };
    (0..count).map(of).collect()
}

/// Mostly the best, never far from it, and never below.
#[test]
fn choices_are_near_the_best() {
    let mut random = Random(7);
    let (mut best, mut worst) = (0, 1.0_f64);
    for _ in 0..500 {
        let classes = graph(&mut random);
        let roots = [classes.len() - 1, classes.len() / 2];
        let least = least(&classes, &roots).unwrap();
        let found = sum(&classes, &roots, &extract(&classes, &roots)).unwrap();
        assert!(found >= least, "{classes:?}");
        best += usize::from(found == least);
        worst = worst.max(found as f64 / least as f64);
    }
    assert!(best >= 490 && worst < 1.5, "{best} of 500 are the best, the worst is {worst}");
}
