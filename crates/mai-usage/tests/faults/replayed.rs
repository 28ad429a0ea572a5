//! The fuzz targets on the stable compiler: their corpora as they are, and each of them spoilt by chance.

use std::path::Path;

use crate::dice::Dice;

#[path = "../../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use it from outside")]
mod targets;

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 3] = [("sse", targets::sse), ("decimal", targets::decimal), ("env", targets::env)];

/// Runs every target on its corpus and on `each` spoilt copies of every file. How many inputs that were.
pub(crate) fn all(each: usize, mut dice: Dice) -> usize {
    const FEWEST_FILES: usize = 10;
    let mut inputs = 0;
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= FEWEST_FILES, "the corpus of {name} is gone");
        // The order of a folder is nobody's promise; the seed's is.
        files.sort();
        for file in &files {
            let mut input = std::fs::read(file).unwrap();
            target(&input);
            for turn in 0..each {
                if turn % 8 == 0 {
                    input = std::fs::read(file).unwrap();
                }
                spoil(&mut input, &mut dice);
                target(&input);
            }
        }
        inputs += files.len() * (each + 1);
    }
    inputs
}

/// Changes, adds, takes away or repeats some bytes.
fn spoil(input: &mut Vec<u8>, dice: &mut Dice) {
    const BYTES: [u8; 16] = *b"\n\r\0\"\\{}:,=-e.05\xff";
    let mut place = |length: usize| usize::try_from(dice.roll(u64::try_from(length + 1).unwrap())).unwrap();
    let (from, to) = (place(input.len()), place(input.len()));
    let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 64));
    match dice.roll(4) {
        0 => input.insert(from, *dice.pick(&BYTES)),
        1 if from < input.len() => input[from] = *dice.pick(&BYTES),
        2 => drop(input.drain(from..to)),
        _ => {
            let repeated = input[from..to].to_vec();
            input.splice(from..from, repeated);
        }
    }
}
