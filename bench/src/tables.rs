//! The figures as Markdown.

use std::fmt::Write as _;

use crate::books::Judgement;
use crate::figures::{Errors, Percentiles, Saturation};
use crate::run::{Figures, Run};

/// The target whose figures are the unit of others.
const FLOOR: &str = "nginx";

/// The target that everything is added to.
const NOTHING_BETWEEN: &str = "direct";

const NOTHING: &str = "–";

/// All tables, each with a blank line before it.
pub(crate) fn tables(run: &Run) -> String {
    [saturation(run), rates(run), streams(run), memory(run), judgements(run), errors(run)].concat()
}

fn saturation(run: &Run) -> String {
    let floor = run.named(FLOOR).and_then(|floor| floor.saturation.per_cpu_second());
    let head = ["target", "calls/s", "p50 / p99 ms", "calls per CPU-s of the proxy", "x nginx"];
    table(
        &head,
        run.targets.iter().map(|target| {
            let Saturation { latency, .. } = &target.saturation;
            let per_cpu_second = target.saturation.per_cpu_second();
            vec![
                target.name.to_owned(),
                maybe(target.saturation.per_second()),
                half_and_most(*latency),
                maybe(per_cpu_second),
                ratio(per_cpu_second, floor),
            ]
        }),
    )
}

fn rates(run: &Run) -> String {
    let head = ["target", "calls/s", "p50 / p90 / p99 / max ms", "added p50 ms", "added p99 ms"];
    let direct = run.named(NOTHING_BETWEEN);
    let rates = run.targets.first().map_or(0, |target| target.rates.len());
    let rows = (0..rates).flat_map(|number| {
        let base = direct.and_then(|direct| direct.rates.get(number)).map(|rate| rate.latency);
        run.targets.iter().filter_map(move |target| {
            let rate = target.rates.get(number)?;
            let Percentiles { p50_us, p90_us, p99_us, max_us, .. } = rate.latency;
            Some(vec![
                target.name.to_owned(),
                rate.calls_per_second.to_string(),
                [p50_us, p90_us, p99_us, max_us].map(ms).join(" / "),
                added(target, rate.latency, base, |times| times.p50_us),
                added(target, rate.latency, base, |times| times.p99_us),
            ])
        })
    });
    table(&head, rows)
}

fn streams(run: &Run) -> String {
    let head = [
        "target",
        "streams",
        "first chunk p50 / p99 ms",
        "added p50 ms",
        "chunk p50 / p99 ms",
        "added p50 ms",
        "CPU s",
        "x nginx",
        "without usage",
        "errors",
    ];
    let (direct, floor) = (run.named(NOTHING_BETWEEN), run.named(FLOOR));
    let loads = run.targets.first().map_or(0, |target| target.streams.len());
    let rows = (0..loads).flat_map(|number| {
        let base = direct.and_then(|direct| direct.streams.get(number));
        let floor_cpu = floor.and_then(|floor| floor.streams.get(number)).map(|load| load.cpu_us);
        run.targets.iter().filter_map(move |target| {
            let load = target.streams.get(number)?;
            let has_process = target.memory.is_some();
            Some(vec![
                target.name.to_owned(),
                load.streams.to_string(),
                half_and_most(load.first_chunk),
                added(target, load.first_chunk, base.map(|base| base.first_chunk), |times| times.p50_us),
                half_and_most(load.chunk_delay),
                added(target, load.chunk_delay, base.map(|base| base.chunk_delay), |times| times.p50_us),
                if has_process { ms(load.cpu_us / 1_000) } else { NOTHING.to_owned() },
                // What refused some of them had less to do.
                ratio((has_process && load.errors.count == 0).then_some(load.cpu_us), floor_cpu),
                load.without_usage.to_string(),
                load.errors.count.to_string(),
            ])
        })
    });
    table(&head, rows)
}

fn memory(run: &Run) -> String {
    let most = run.targets.iter().flat_map(|target| &target.streams).map(|load| load.streams).max();
    let under_load = format!("under {} streams MiB", most.unwrap_or(0));
    let rows = run.targets.iter().filter_map(|target| {
        let memory = target.memory?;
        let under_load = target.streams.iter().max_by_key(|load| load.streams).map(|load| load.resident_kib);
        let amounts = [memory.idle_kib, under_load.unwrap_or(0), memory.afterwards_kib];
        Some([target.name.to_owned()].into_iter().chain(amounts.map(mib)).collect())
    });
    table(&["target", "idle MiB", &under_load, "afterwards MiB"], rows)
}

fn judgements(run: &Run) -> String {
    let head = ["target", "calls", "billed: calls, USD", "booked: calls, USD", "equal"];
    let rows = run.targets.iter().flat_map(|target| {
        let keeps_none = target.books.iter().all(|judgement| judgement.booked.is_none());
        let rows = target.books.iter().map(|judgement| judgement_row(target.name, judgement));
        let none = ["all kinds", NOTHING, "keeps none", NOTHING];
        let none = keeps_none.then(|| [target.name].into_iter().chain(none).map(str::to_owned).collect());
        rows.filter(move |_| !keeps_none).chain(none)
    });
    let proxies = rows.filter(|row: &Vec<String>| row.first().is_some_and(|name| name != NOTHING_BETWEEN));
    table(&head, proxies)
}

fn judgement_row(target: &str, judgement: &Judgement) -> Vec<String> {
    let sum = |sum: crate::books::Sum| format!("{}, {}", sum.calls, usd(sum.cost_pico_usd));
    vec![
        target.to_owned(),
        judgement.kind.map_or("the whole run", crate::books::Kind::words).to_owned(),
        sum(judgement.billed),
        judgement.booked.map_or(NOTHING.to_owned(), sum),
        if judgement.is_equal() == Some(true) { "yes" } else { "NO" }.to_owned(),
    ]
}

/// What failed, where anything did.
fn errors(run: &Run) -> String {
    let mut rows = Vec::new();
    for target in &run.targets {
        let mut row = |load: String, errors: &Errors| {
            if let Some(first) = &errors.first {
                rows.push(vec![target.name.to_owned(), load, errors.count.to_string(), first.clone()]);
            }
        };
        row("saturation".to_owned(), &target.saturation.errors);
        for rate in &target.rates {
            row(format!("{} calls/s", rate.calls_per_second), &rate.errors);
        }
        for streams in &target.streams {
            row(format!("{} streams", streams.streams), &streams.errors);
        }
    }
    if rows.is_empty() {
        return "\nNo call failed.\n".to_owned();
    }
    table(&["target", "load", "errors", "the first"], rows.into_iter())
}

impl Run {
    fn named(&self, name: &str) -> Option<&Figures> {
        self.targets.iter().find(|target| target.name == name)
    }
}

pub(crate) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = format!("\n| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    for row in rows {
        // A string takes whatever is written to it.
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

pub(crate) fn maybe(number: Option<u64>) -> String {
    number.map_or(NOTHING.to_owned(), |number| number.to_string())
}

fn half_and_most(times: Percentiles) -> String {
    match times.samples {
        0 => NOTHING.to_owned(),
        _ => format!("{} / {}", ms(times.p50_us), ms(times.p99_us)),
    }
}

/// What `target` adds to the direct way at one share of the calls, in milliseconds.
fn added(
    target: &Figures,
    times: Percentiles,
    direct: Option<Percentiles>,
    at: fn(&Percentiles) -> u64,
) -> String {
    let direct = direct.filter(|_| times.samples > 0 && target.name != NOTHING_BETWEEN);
    direct.map_or(NOTHING.to_owned(), |direct| difference(at(&times), at(&direct)))
}

fn difference(time_us: u64, less_us: u64) -> String {
    let difference = ms(time_us.abs_diff(less_us));
    let is_negative = time_us < less_us && difference != ms(0);
    if is_negative { format!("-{difference}") } else { difference }
}

/// Thousands of something with two places: microseconds in milliseconds.
pub(crate) fn ms(time_us: u64) -> String {
    let hundredths = (time_us + 5) / 10;
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

pub(crate) fn mib(kib: u64) -> String {
    let tenths = (kib * 10 + 512) / 1_024;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// `of` as a multiple of `unit`, to three places.
fn ratio(of: Option<u64>, unit: Option<u64>) -> String {
    let thousandths = of.zip(unit).and_then(|(of, unit)| (of * 1_000).checked_div(unit));
    thousandths.map_or(NOTHING.to_owned(), |thousandths| {
        format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000)
    })
}

fn usd(pico_usd: i64) -> String {
    const PICO_A_USD: i64 = 1_000_000_000_000;
    let text = format!("{}.{:012}", pico_usd / PICO_A_USD, pico_usd % PICO_A_USD);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{difference, mib, ms, ratio, usd};

    #[test]
    fn numbers_are_told_rounded() {
        assert_eq!([0, 4, 5, 994, 12_345].map(ms), ["0.00", "0.00", "0.01", "0.99", "12.35"]);
        assert_eq!([difference(30, 10), difference(10, 30), difference(10, 12)], ["0.02", "-0.02", "0.00"]);
        assert_eq!([0, 51, 52, 1_024].map(mib), ["0.0", "0.0", "0.1", "1.0"]);
        assert_eq!(ratio(Some(1), Some(3)), "0.333");
        assert_eq!(ratio(Some(1), Some(0)), "–");
        assert_eq!(usd(1_500_000_000_001), "1.500000000001");
        assert_eq!(usd(2_000_000_000_000), "2");
    }
}
