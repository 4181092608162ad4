//! What is measured: cells of workloads, and the figures of each.

use std::time::Duration;

use serde_json::Value;

/// Which way a figure is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

/// One figure of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    /// Heads the column, below the cell's name.
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// Whether the table shows how many times better Peerloom is.
    pub(crate) compared: bool,
    /// From the program's line.
    pub(crate) of: fn(&Value) -> Option<f64>,
}

/// A workload with its numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    /// For `--only` and the report.
    pub(crate) id: &'static str,
    pub(crate) workload: &'static str,
    /// Heads the column.
    pub(crate) title: &'static str,
    pub(crate) arguments: &'static [&'static str],
    /// The share of packets that the relay loses.
    pub(crate) loss: Option<f64>,
    /// How much longer than others it measures.
    pub(crate) stretch: f64,
    /// One run is enough: the figure does not move.
    pub(crate) once: bool,
    /// What set-up and settling may take on top.
    pub(crate) patience: Duration,
    pub(crate) figures: &'static [Figure],
}

const RATE: Figure = Figure {
    unit: "MB/s",
    better: Better::More,
    compared: true,
    of: |run| Some(number(run, "bytes")? / number(run, "seconds")? / 1e6),
};
const COST: Figure = Figure {
    unit: "CPU-s/GB",
    better: Better::Less,
    compared: true,
    of: |run| Some(number(run, "cpu")? / (number(run, "bytes")? / 1e9)).filter(|it| it.is_finite()),
};
const LEAST: Figure = Figure {
    unit: "least/mean",
    better: Better::More,
    compared: false,
    of: |run| number(run, "least"),
};
const MESSAGES: Figure = Figure {
    unit: "k/s",
    better: Better::More,
    compared: true,
    of: |run| Some(number(run, "received")? / number(run, "seconds")? / 1e3),
};
const LOST: Figure = Figure {
    unit: "% lost",
    better: Better::Less,
    compared: false,
    of: |run| Some(number(run, "lost")? * 100.0),
};
const P50: Figure = Figure {
    unit: "p50 µs",
    better: Better::Less,
    compared: true,
    of: |run| number(run, "p50"),
};
const P99: Figure = Figure {
    unit: "p99 µs",
    better: Better::Less,
    compared: true,
    of: |run| number(run, "p99"),
};
const SETUP: Figure = Figure {
    unit: "ms",
    better: Better::Less,
    compared: true,
    of: |run| number(run, "p50"),
};
const MEMORY: Figure = Figure {
    unit: "KiB each",
    better: Better::Less,
    compared: true,
    of: |run| number(run, "kib"),
};
const IDLE: Figure = Figure {
    unit: "% of a core",
    better: Better::Less,
    compared: false,
    of: |run| Some(number(run, "idle")? * 100.0),
};

fn number(run: &Value, key: &str) -> Option<f64> {
    run.get(key)?.as_f64()
}

const BULK: Cell = Cell {
    id: "W1-16",
    workload: "W1",
    title: "W1 16 KiB",
    arguments: &["--size", "16384"],
    loss: None,
    stretch: 1.0,
    once: false,
    patience: Duration::from_secs(15),
    figures: &[RATE, COST],
};

/// All cells, in the order of the table.
pub(crate) const CELLS: [Cell; 11] = [
    Cell {
        id: "W1-1",
        title: "W1 1 KiB",
        arguments: &["--size", "1024"],
        ..BULK
    },
    BULK,
    Cell {
        id: "W1-64",
        title: "W1 64 KiB",
        arguments: &["--size", "65536"],
        ..BULK
    },
    Cell {
        id: "W2",
        workload: "W2",
        title: "W2 100 B, unreliable",
        arguments: &["--size", "100"],
        figures: &[MESSAGES, LOST],
        ..BULK
    },
    Cell {
        id: "W3",
        workload: "W3",
        title: "W3 round trip, 64 B",
        arguments: &["--size", "64"],
        stretch: 0.7,
        figures: &[P50, P99],
        ..BULK
    },
    Cell {
        id: "W4",
        workload: "W4",
        title: "W4 set-up",
        arguments: &["--count", "50"],
        stretch: 0.7,
        figures: &[SETUP],
        ..BULK
    },
    Cell {
        id: "W5-200",
        workload: "W5",
        title: "W5 200 idle",
        arguments: &["--count", "200"],
        stretch: 2.0,
        once: true,
        patience: Duration::from_secs(30),
        figures: &[MEMORY, IDLE],
        ..BULK
    },
    Cell {
        id: "W5-2000",
        workload: "W5",
        title: "W5 2,000 idle",
        arguments: &["--count", "2000"],
        stretch: 2.0,
        once: true,
        patience: Duration::from_secs(60),
        figures: &[MEMORY, IDLE],
        ..BULK
    },
    Cell {
        id: "W6",
        workload: "W6",
        title: "W6 star of 100",
        arguments: &["--count", "100", "--size", "16384"],
        patience: Duration::from_secs(30),
        figures: &[RATE, COST, LEAST],
        ..BULK
    },
    Cell {
        id: "W7-0.1",
        workload: "W7",
        title: "W7 40 ms, 0.1 %",
        loss: Some(0.001),
        stretch: 1.5,
        figures: &[RATE],
        ..BULK
    },
    Cell {
        id: "W7-1",
        workload: "W7",
        title: "W7 40 ms, 1 %",
        loss: Some(0.01),
        stretch: 1.5,
        figures: &[RATE],
        ..BULK
    },
];

/// The cells that were asked for: all, or those of the named workloads or ids.
pub(crate) fn chosen(only: &[String]) -> Result<Vec<Cell>, String> {
    let is = |cell: &Cell, name: &String| {
        name.eq_ignore_ascii_case(cell.id) || name.eq_ignore_ascii_case(cell.workload)
    };
    if let Some(unknown) = only
        .iter()
        .find(|name| !CELLS.iter().any(|cell| is(cell, name)))
    {
        return Err(format!("no workload {unknown} (see --list)"));
    }
    let wanted = |cell: &&Cell| only.is_empty() || only.iter().any(|name| is(cell, name));
    Ok(CELLS.iter().filter(wanted).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn workloads_and_cells_can_be_chosen() {
        let ids = |only: &[&str]| -> Vec<&str> {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            let chosen = chosen(&only).expect("they exist");
            chosen.iter().map(|cell| cell.id).collect()
        };
        assert_eq!(ids(&["w1"]), ["W1-1", "W1-16", "W1-64"]);
        assert_eq!(ids(&["W7-1", "W3"]), ["W3", "W7-1"]);
        assert_eq!(ids(&[]).len(), CELLS.len());
        assert!(chosen(&["W9".to_owned()]).is_err());
    }

    #[test]
    fn figures_follow_from_the_line_of_a_program() {
        let run = json!({"bytes": 500_000_000, "seconds": 2.0, "cpu": 3.0});
        assert_eq!((RATE.of)(&run), Some(250.0));
        assert_eq!((COST.of)(&run), Some(6.0));
        let nothing = json!({"bytes": 0, "seconds": 2.0, "cpu": 3.0});
        assert_eq!((COST.of)(&nothing), None);
        let run = json!({"received": 30_000, "seconds": 2.0, "lost": 0.25});
        assert_eq!((MESSAGES.of)(&run), Some(15.0));
        assert_eq!((LOST.of)(&run), Some(25.0));
    }
}
