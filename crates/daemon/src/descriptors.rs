//! The system's limit of descriptors: each connection is one, and the usual 1,024 are fewer than the calls and connections
//! that may be.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to `wanted`, or as far as the system lets it. With fewer the program works: what comes then waits.
pub(crate) fn allow(wanted: usize) {
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let allowed = maximum.map_or(wanted, |maximum| wanted.min(maximum));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum });
    if raised.is_err() || allowed < wanted {
        tracing::warn!(
            wanted,
            allowed,
            "the system allows fewer descriptors than calls and connections need"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be_and_never_lowered() {
        let current = || getrlimit(Resource::Nofile).current;
        setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum: Some(400) }).unwrap();
        for (wanted, allowed) in [(100, 200), (300, 300), (usize::MAX, 400), (0, 400)] {
            allow(wanted);
            assert_eq!(current(), Some(allowed), "{wanted}");
        }
    }
}
