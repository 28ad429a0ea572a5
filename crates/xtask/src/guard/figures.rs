//! The figures of a call, and how they stand beside those that are kept.

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;

/// How much more than what is kept passes, in percent.
const ALLOWANCE_PERCENT: u64 = 10;

/// What was counted. As text: a line a figure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Figures(pub(super) Vec<Figure>);

/// What one call of a kind takes of something: `plain-call instructions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) what: String,
    pub(super) count: u64,
}

/// What was found beside what is kept.
pub(super) struct Verdict(Vec<Compared>);

struct Compared {
    found: Figure,
    kept: u64,
}

impl Figures {
    /// Compares each figure with the one that is kept of the same; what is not kept passes nothing.
    pub(super) fn beside(&self, kept: &Self) -> Verdict {
        let kept_of = |found: &Figure| kept.0.iter().find(|kept| kept.what == found.what);
        let compared = |found: &Figure| Compared {
            found: found.clone(),
            kept: kept_of(found).map_or(0, |kept| kept.count),
        };
        Verdict(self.0.iter().map(compared).collect())
    }
}

impl Verdict {
    pub(super) fn is_worse(&self) -> bool {
        self.0.iter().any(Compared::is_worse)
    }
}

impl Compared {
    const fn is_worse(&self) -> bool {
        self.found.count * 100 > self.kept * (100 + ALLOWANCE_PERCENT)
    }

    /// So much better that the figure that is kept guards nothing any more.
    const fn is_much_better(&self) -> bool {
        self.found.count * (100 + ALLOWANCE_PERCENT) < self.kept * 100
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for compared in &self.0 {
            let words = match compared {
                _ if compared.is_worse() => ": TOO MUCH",
                _ if compared.is_much_better() => ": better, cargo xtask guard --write",
                _ => "",
            };
            writeln!(f, "{} {}, kept {}{words}", compared.found.what, compared.found.count, compared.kept)?;
        }
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# Made by `cargo xtask guard --write`; docs/benchmarks.md says what is counted.")?;
        self.0.iter().try_for_each(|Figure { what, count }| writeln!(f, "{what} {count}"))
    }
}

impl FromStr for Figures {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let figure = |line: &str| {
            let (what, count) = line.rsplit_once(' ')?;
            Some(Figure { what: what.to_owned(), count: count.parse().ok()? })
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let figures = lines.map(|line| figure(line).with_context(|| format!("`{line}` is no figure")));
        Ok(Self(figures.collect::<anyhow::Result<_>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(instructions: u64, allocations: u64) -> Figures {
        let figure = |what: &str, count| Figure { what: what.to_owned(), count };
        Figures(vec![figure("call instructions", instructions), figure("call allocations", allocations)])
    }

    #[test]
    fn what_is_written_is_read() {
        let figures = figures(523_000, 410);
        assert_eq!(figures.to_string().parse::<Figures>().unwrap(), figures);
        assert!("call".parse::<Figures>().is_err());
        assert!("call 1.5".parse::<Figures>().is_err());
    }

    #[test]
    fn a_tenth_more_passes_and_no_more() {
        let kept = figures(1_000, 100);
        for (instructions, allocations, is_worse) in
            [(1_100, 110, false), (1_101, 100, true), (1_000, 111, true), (10, 1, false)]
        {
            let verdict = figures(instructions, allocations).beside(&kept);
            assert_eq!(verdict.is_worse(), is_worse, "{verdict}");
        }
        assert!(figures(1, 1).beside(&Figures(Vec::new())).is_worse());
    }
}
