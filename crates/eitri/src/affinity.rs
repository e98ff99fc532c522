//! Binding threads to cores.

use crate::Error;

/// Binds the calling thread to `cores`, numbered as by the operating system.
///
/// A program that runs a control loop beside an engine pins both, so that neither waits for the
/// other: the loop with this function, the engine with [`crate::EngineBuilder::cores`].
///
/// # Errors
/// When the list is empty, a core does not exist or is not open to this process, or the operating
/// system cannot bind threads (only Linux can).
pub fn pin_current_thread(cores: &[usize]) -> Result<(), Error> {
    check(cores)?;
    bind(cores)
}

/// Checks that this process may run on each of `cores`.
pub(crate) fn check(cores: &[usize]) -> Result<(), Error> {
    if cores.is_empty() {
        return Err(Error::Setting {
            setting: "--cores",
            expected: "at least one core".to_owned(),
            value: "none".to_owned(),
        });
    }
    let allowed = allowed_cores()?;
    match cores.iter().find(|core| !allowed.contains(core)) {
        None => Ok(()),
        Some(&core) => Err(Error::Affinity {
            core,
            reason: format!("this process may run on {}", ranges(&allowed)),
        }),
    }
}

/// Shows sorted numbers as ranges, such as `0-3,8`.
fn ranges(sorted: &[usize]) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for &number in sorted {
        match parts.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => parts.push((number, number)),
        }
    }
    let show = |&(start, end): &(usize, usize)| {
        if start == end { start.to_string() } else { format!("{start}-{end}") }
    };
    parts.iter().map(show).collect::<Vec<_>>().join(",")
}

#[cfg(target_os = "linux")]
fn allowed_cores() -> Result<Vec<usize>, Error> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(None)
        .map_err(|error| Error::Affinity { core: 0, reason: error.to_string() })?;
    Ok((0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect())
}

#[cfg(target_os = "linux")]
fn bind(cores: &[usize]) -> Result<(), Error> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    sched_setaffinity(None, &set)
        .map_err(|error| Error::Affinity { core: cores[0], reason: error.to_string() })
}

#[cfg(not(target_os = "linux"))]
fn allowed_cores() -> Result<Vec<usize>, Error> {
    Ok((0..std::thread::available_parallelism().map_or(1, usize::from)).collect())
}

#[cfg(not(target_os = "linux"))]
fn bind(cores: &[usize]) -> Result<(), Error> {
    Err(Error::Affinity { core: cores[0], reason: "only Linux binds threads to cores".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_short() {
        assert_eq!(ranges(&[0, 1, 2, 5, 7, 8]), "0-2,5,7-8");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let error = pin_current_thread(&[1023]).unwrap_err().to_string();
        assert!(error.contains("core 1023"), "{error}");
        assert!(pin_current_thread(&[]).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pinned_thread_may_run_nowhere_else() {
        let last = *allowed_cores().unwrap().last().unwrap();
        let after = std::thread::spawn(move || {
            pin_current_thread(&[last]).unwrap();
            allowed_cores().unwrap()
        });
        assert_eq!(after.join().unwrap(), [last]);
    }
}
