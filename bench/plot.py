"""Draw the medians that compare.py gives on standard input into a PNG."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

rows = json.load(sys.stdin)
cases = list(dict.fromkeys((case, far) for case, _, far, _ in rows))
tools = list(dict.fromkeys(tool for _, tool, _, _ in rows))
figure, axes = pyplot.subplots(figsize=(11, 5))
for place, tool in enumerate(tools):
    heights = [
        next(seconds for case, name, far, seconds in rows if (case, far, name) == (*wanted, tool))
        for wanted in cases
    ]
    bars = axes.bar(
        [number + (place - 1.5) * 0.2 for number in range(len(cases))], heights, 0.19, label=tool
    )
    axes.bar_label(bars, fmt="%.1f", fontsize=7)
axes.set_xticks(
    range(len(cases)), [f"{case}\n{'50 ms' if far else '0 ms'}" for case, far in cases], fontsize=8
)
axes.set_yscale("log")
axes.set_ylabel("seconds (logarithmic)")
axes.set_title("The same job, side by side")
axes.legend()
figure.tight_layout()
figure.savefig(sys.argv[1], dpi=110)
