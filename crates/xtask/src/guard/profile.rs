//! Reading what callgrind counted: a text with a line `fn=` for each function, followed by what it did, and in the end a line
//! `totals:`. Names must not be compressed.

use anyhow::{Context as _, ensure};

/// The functions of the C library that give memory. Another allocator has other names.
const ALLOCATORS: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Instructions of the program and its libraries, the kernel's apart.
    pub(super) instructions: u64,
    /// Calls of one of [`ALLOCATORS`], those among themselves apart.
    pub(super) allocations: u64,
}

impl Counted {
    pub(super) const fn less(self, base: Self) -> Self {
        Self {
            instructions: self.instructions.saturating_sub(base.instructions),
            allocations: self.allocations.saturating_sub(base.allocations),
        }
    }

    /// What one of so many calls costs, rounded down.
    pub(super) fn of_each(self, calls: u32) -> Self {
        let calls = u64::from(calls);
        Self { instructions: self.instructions / calls, allocations: self.allocations / calls }
    }
}

/// Reads a profile.
pub(super) fn read(profile: &str) -> anyhow::Result<Counted> {
    let (mut instructions, mut allocations) = (None, 0);
    let (mut function, mut called) = ("", "");
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            function = name;
        } else if let Some(name) = line.strip_prefix("cfn=") {
            called = name;
        } else if let Some(calls) = line.strip_prefix("calls=")
            && ALLOCATORS.contains(&called)
            && !ALLOCATORS.contains(&function)
        {
            let count = calls.split(' ').next().unwrap_or_default();
            allocations += count.parse::<u64>().with_context(|| format!("`{line}` has no count"))?;
        } else if let Some(count) = line.strip_prefix("totals: ") {
            instructions = Some(count.trim().parse()?);
        }
    }
    ensure!(allocations > 0, "the profile knows no allocator; hint: ALLOCATORS in {}", file!());
    Ok(Counted { instructions: instructions.context("the profile has no end")?, allocations })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
events: Ir
summary: 999

ob=/usr/lib/libc.so.6
fl=./malloc/./malloc/malloc.c
fn=malloc
3281 700
fn=realloc
cfn=malloc
calls=3 3281
0 2078
fl=/src/main.rs
fn=main
14 20
cob=/usr/lib/libc.so.6
cfn=malloc
calls=104 3281
14 17677
cfn=realloc
calls=1 3400
15 9
cfn=malloc_usable_size
calls=50 3400
15 9

totals: 1234
";

    #[test]
    fn only_what_the_program_asked_for_is_counted() {
        let counted = read(PROFILE).unwrap();
        assert_eq!(counted, Counted { instructions: 1_234, allocations: 105 });
        let base = Counted { instructions: 234, allocations: 5 };
        assert_eq!(counted.less(base).of_each(10), Counted { instructions: 100, allocations: 10 });
    }

    #[test]
    fn what_is_no_whole_profile_is_refused() {
        assert!(read("").is_err());
        assert!(read("fn=main\ntotals: 7\n").is_err());
        assert!(read(PROFILE.strip_suffix("totals: 1234\n").unwrap()).is_err());
    }
}
