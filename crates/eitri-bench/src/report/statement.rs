//! The lines that follow vLLM's result block in a terminal.

use std::fmt::{self, Write};

use super::{
    block::Block,
    floor::{Floor, Verdict},
    prompt_cache::{CacheState, Evidence, FirstTokens},
};

const WIDTH: usize = 50;

/// What a block does not say: the floor, the cache, jitter, damage and energy, in lines laid out as
/// the block's own.
pub fn statement(block: &Block) -> String {
    let mut text = format!("{:-^WIDTH$}\n", "What the numbers rest on");
    // Writing to a string cannot fail.
    let _ = write_all(&mut text, block);
    text.push_str(&"=".repeat(WIDTH));
    text
}

fn write_all(out: &mut String, block: &Block) -> fmt::Result {
    line(out, "Figures:", block.origin.name())?;
    if let Some(floor) = &block.floor {
        write_floor(out, floor)?;
    }
    write_cache(out, block)?;
    if let Some(jitter) = &block.jitter {
        line(out, "P99.9 ITL (ms):", &format!("{:.2}", jitter.p999_ms))?;
        line(out, "Longest gap (ms):", &format!("{:.2}", jitter.longest_ms))?;
    }
    if let Some(energy) = &block.energy {
        line(out, "Energy of this machine (J):", &format!("{:.1}", energy.joules))?;
        line(out, "Output tokens per joule:", &format!("{:.3}", energy.tokens_per_joule))?;
    }
    if let Some(version) = block.server.as_ref().and_then(|server| server.version.as_ref()) {
        line(out, "Server version:", version)?;
    }
    if let Some(outputs) = &block.outputs {
        writeln!(out, "Answers: {outputs}")?;
    }
    for warning in block.warnings() {
        writeln!(out, "!!! {}", warning.text)?;
    }
    Ok(())
}

fn line(out: &mut String, label: &str, value: &str) -> fmt::Result {
    writeln!(out, "{label:<40} {value:<10}")
}

fn write_floor(out: &mut String, floor: &Floor) -> fmt::Result {
    line(out, "Bytes read per token (GB):", &format!("{:.3}", floor.bytes_per_token / 1e9))?;
    if floor.verdict == Verdict::FitsInCache {
        return line(out, "Floor of a step (ms):", "none: it fits in the cache");
    }
    line(out, "Step (ms):", &format!("{:.2}", floor.step_ms))?;
    for (label, milliseconds, share) in [
        ("Nominal floor of a step (ms):", floor.nominal_ms, floor.nominal_share),
        ("Practical floor of a step (ms):", floor.practical_ms, floor.practical_share),
    ] {
        if let Some((milliseconds, share)) = milliseconds.zip(share) {
            line(out, label, &format!("{milliseconds:.2} ({:.0} % of the step)", share * 100.0))?;
        }
    }
    Ok(())
}

fn write_cache(out: &mut String, block: &Block) -> fmt::Result {
    let cache = &block.prompt_cache;
    let how = match cache.evidence {
        Some(Evidence::Usage { cached, total }) => format!("{cached} of {total} tokens, by usage"),
        Some(Evidence::Counters { hits, queries }) => {
            format!("{hits:.0} of {queries:.0} tokens, by counters")
        }
        Some(Evidence::FasterThanComputing { .. } | Evidence::FasterThanOwnPrefill { .. }) => {
            "inferred from times".to_owned()
        }
        Some(Evidence::Assumed) => "assumed".to_owned(),
        None => "the server does not say".to_owned(),
    };
    line(out, "Prefix cache:", &format!("{} ({how})", cache.state.name()))?;
    if cache.state == CacheState::Unknown {
        return Ok(());
    }
    for (label, group) in
        [("Mean cold TTFT (ms):", cache.cold), ("Mean warm TTFT (ms):", cache.warm)]
    {
        if let Some(FirstTokens { requests, ttft }) = group {
            line(out, label, &format!("{:.2} ({requests} requests)", ttft.mean))?;
        }
    }
    Ok(())
}
