//! The chart: the speed of each contender relative to the reference.

use std::fmt::Write;

use super::contenders::{CONTENDERS, REFERENCE};
use super::measurements::Table;
use super::workloads::Workload;

const ROW: usize = 18;
const PANEL_WIDTH: usize = 520;
const LABEL_WIDTH: usize = 200;
const TITLE: usize = 34;
const COLUMNS: usize = 2;

/// Draws a panel for each workload, as SVG.
pub(crate) fn svg(table: &Table) -> String {
    let workloads = table.workloads();
    let panel_height = TITLE + ROW * (CONTENDERS.len() + 1);
    let width = PANEL_WIDTH * COLUMNS;
    let height = panel_height * workloads.len().div_ceil(COLUMNS);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (position, workload) in workloads.iter().enumerate() {
        let left = PANEL_WIDTH * (position % COLUMNS);
        let top = panel_height * (position / COLUMNS);
        draw(&mut svg, table, workload, left, top).expect("writing to a string cannot fail");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(
    svg: &mut String,
    table: &Table,
    workload: &Workload,
    left: usize,
    top: usize,
) -> std::fmt::Result {
    let ratios: Vec<(&str, f64)> = CONTENDERS
        .iter()
        .filter_map(|contender| {
            let ratio = table.ratio(workload, contender.name, REFERENCE)?;
            Some((contender.name, ratio))
        })
        .collect();
    let longest = ratios.iter().map(|(_, ratio)| *ratio).fold(1.0, f64::max);
    let room = (PANEL_WIDTH - LABEL_WIDTH - 60) as f64;
    let title = top + 22;
    writeln!(
        svg,
        "<text x=\"{}\" y=\"{title}\" font-weight=\"bold\">{}</text>",
        left + 10,
        workload.name
    )?;
    for (row, (name, ratio)) in ratios.into_iter().enumerate() {
        let y = top + TITLE + ROW * row;
        let (text, x) = (y + 13, left + LABEL_WIDTH);
        let length = room * ratio / longest;
        let colour = if name.starts_with("pool") {
            "#c2410c"
        } else {
            "#94a3b8"
        };
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{name}</text>\
             <rect x=\"{x}\" y=\"{}\" width=\"{length:.0}\" height=\"{}\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{text}\">{ratio:.2}</text>",
            x - 8,
            y + 2,
            ROW - 4,
            x as f64 + length + 5.0,
        )?;
    }
    Ok(())
}
