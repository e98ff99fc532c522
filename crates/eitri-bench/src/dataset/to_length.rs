//! Texts of a wanted number of tokens. A text of random tokens is not tokenized into the same
//! tokens again, nor into as many.

use eitri_text::Tokenizer;

use crate::BenchError;

/// How often the newer clients correct a text.
const CORRECTIONS: usize = 10;
/// How often the older clients may draw. They know no limit; a vocabulary that gives no token this
/// often gives none at all.
const DRAWS: usize = 1000;

/// The method of the newer clients: decodes and encodes `ids`, cuts what is too long and appends
/// drawn ids to what is too short, up to ten times. The number of tokens can be off in the end.
pub(super) fn corrected(
    tokenizer: &Tokenizer,
    mut ids: Vec<u32>,
    target: usize,
    mut draw: impl FnMut(usize) -> Vec<u32>,
) -> Result<(String, Vec<u32>), BenchError> {
    let mut left = CORRECTIONS;
    loop {
        let text = tokenizer.decode(&ids, false)?;
        ids = tokenizer.encode(&text, false)?;
        if left == 0 || ids.len() == target {
            return Ok((text, ids));
        }
        if ids.len() < target {
            ids.extend(draw(target - ids.len()));
        } else {
            ids.truncate(target);
        }
        left -= 1;
    }
}

/// The method of the older clients for data set `prefix_repetition`: tokens that have been decoded
/// and encoded, drawn until there are enough.
pub(super) fn accumulated(
    tokenizer: &Tokenizer,
    target: usize,
    mut draw: impl FnMut(usize) -> Vec<u32>,
) -> Result<Vec<u32>, BenchError> {
    let mut all = Vec::with_capacity(target);
    for _ in 0..DRAWS {
        let missing = target - all.len();
        let text = tokenizer.decode(&draw(missing), false)?;
        let ids = tokenizer.encode(&text, false)?;
        all.extend(ids.into_iter().take(missing));
        if all.len() == target {
            return Ok(all);
        }
    }
    Err(BenchError::flag(
        "--tokenizer",
        format!("no text of {target} tokens could be made of random tokens"),
    ))
}
