//! Trains the weights of the learned signal (`inspect/src/learned/README.md`): logistic regression by stochastic
//! gradient descent over the features that the engine itself computes.
//!
//! `train --out FILE [--false-positives SHARE] CORPUS.jsonl…`; a line is `{"label": "attack"|"benign", "text": …}`.
//! Every fifth line is held out: the threshold is set on it, and the shares told are of it.
#![forbid(unsafe_code)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and shares of a corpus"
)]

use inspect::learned::{BUCKETS, Model, windows};
use serde::Deserialize;
use std::error::Error;
use std::io::BufRead as _;

/// Passes over the corpus.
const EPOCHS: u32 = 30;
/// How far one example moves the weights, at first.
const RATE: f32 = 0.5;
/// How much of each weight one pass keeps.
const KEEP: f32 = 0.98;

#[derive(Deserialize)]
struct Line {
    label: String,
    text: String,
}

struct Example {
    is_attack: bool,
    windows: Vec<Vec<usize>>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (mut out, mut share, mut corpora) = (None, 0.003_f32, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => out = arguments.next(),
            "--false-positives" => share = arguments.next().ok_or("a share, as 0.003")?.parse()?,
            _ => corpora.push(argument),
        }
    }
    let out = out.ok_or("--out FILE is missing")?;
    let mut examples = Vec::new();
    for corpus in &corpora {
        for line in std::io::BufReader::new(std::fs::File::open(corpus)?).lines() {
            let line: Line = serde_json::from_str(&line?)?;
            let windows: Vec<Vec<usize>> = windows(line.text.as_bytes()).collect();
            if !windows.is_empty() {
                examples.push(Example { is_attack: line.label == "attack", windows });
            }
        }
    }
    shuffle(&mut examples);
    let held = examples.split_off(examples.len() * 4 / 5);
    let model = with_threshold(train(&examples), &held, share);
    for (name, is_attack) in [("attacks", true), ("benign", false)] {
        let of: Vec<&Example> = held.iter().filter(|one| one.is_attack == is_attack).collect();
        let hits = of.iter().filter(|one| best(&model, one) >= model.threshold).count();
        println!("held out, {name}: {hits} of {}", of.len());
    }
    std::fs::write(out, model.write())?;
    Ok(())
}

/// The same order each time.
fn shuffle(examples: &mut [Example]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for at in (1..examples.len()).rev() {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        examples.swap(at, (state >> 33) as usize % (at + 1));
    }
}

fn train(examples: &[Example]) -> Model {
    let count = |is_attack: bool| -> usize {
        let of = examples.iter().filter(|one| one.is_attack == is_attack);
        of.map(|one| one.windows.len()).sum()
    };
    let (attacks, benign) = (count(true), count(false));
    // both kinds weigh the same in sum
    let share = |of: usize| (attacks + benign) as f32 / (2 * of.max(1)) as f32;
    let (mut weights, mut bias) = (vec![0.0_f32; BUCKETS], 0.0_f32);
    for epoch in 0..EPOCHS {
        let rate = RATE / (1.0 + epoch as f32 / 5.0);
        for example in examples {
            let (goal, weight) =
                if example.is_attack { (1.0, share(attacks)) } else { (0.0, share(benign)) };
            for features in &example.windows {
                let norm = (features.len() as f32).sqrt();
                let sum: f32 = features.iter().map(|bucket| weights[*bucket]).sum();
                let chance = 1.0 / (1.0 + (-(bias + sum / norm)).exp());
                let step = rate * weight.min(4.0) * (goal - chance);
                for bucket in features {
                    weights[*bucket] += step / norm;
                }
                bias += step * 0.1;
            }
        }
        weights.iter_mut().for_each(|weight| *weight *= KEEP);
    }
    let largest = weights.iter().fold(0.0_f32, |most, weight| most.max(weight.abs()));
    let scale = largest / 127.0;
    let weights = weights.iter().map(|weight| (weight / scale).round() as i8).collect();
    Model { bias, scale, threshold: 0.0, weights }
}

/// The value of the window that most reads like an attack.
fn best(model: &Model, example: &Example) -> f32 {
    example.windows.iter().map(|features| model.of(features)).fold(f32::NEG_INFINITY, f32::max)
}

/// The threshold that at most `share` of what is benign reaches.
fn with_threshold(model: Model, held: &[Example], share: f32) -> Model {
    let benign = held.iter().filter(|one| !one.is_attack);
    let mut benign: Vec<f32> = benign.map(|one| best(&model, one)).collect();
    benign.sort_by(f32::total_cmp);
    let at = (benign.len() as f32 * (1.0 - share)) as usize;
    let threshold = benign.get(at.min(benign.len().saturating_sub(1))).copied().unwrap_or(0.0);
    Model { threshold: threshold.max(0.0) + 0.1, ..model }
}
