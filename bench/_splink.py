"""Splink on the linking workload, set up as its documentation advises: blocked on what is rare, fitted without labels."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import splink.comparison_library as cl
from splink import Linker, SettingsCreator, block_on
from splink.backends.duckdb import DuckDBAPI

RARE = 60
"""A follow that at most so many suspended accounts share may bring a pair together."""


def link(folder: Path) -> tuple[dict[int, tuple[int, float]], float]:
    """For each new account its best match and probability; and the seconds that it took, all told."""
    logging.disable(logging.CRITICAL)  # It tells each step of its fitting.
    old, new = (pq.read_table(folder / f"{name}.parquet") for name in ("suspended", "new"))
    flat = pc.list_flatten(old["follow_ids"])
    counted = pc.value_counts(flat)
    rare = counted.field("values").filter(pc.less_equal(counted.field("counts"), RARE))
    start = time.perf_counter()
    api = DuckDBAPI()
    frames = [
        api.register(_columns(table, rare), dataset_display_name=name)
        for name, table in (("a_old", old), ("b_new", new))
    ]
    settings = SettingsCreator(
        link_type="link_only",
        unique_id_column_name="account_id",
        retain_matching_columns=False,
        blocking_rules_to_generate_predictions=[
            block_on("device"),
            block_on("display_name"),
            block_on("stem"),
            block_on("rare_follows", arrays_to_explode=["rare_follows"]),
        ],
        comparisons=[
            cl.JaroWinklerAtThresholds("handle", [0.95, 0.88, 0.8]),
            cl.JaroWinklerAtThresholds("display_name", [0.95, 0.88]).configure(term_frequency_adjustments=True),
            cl.ArrayIntersectAtSizes("words", [6, 3, 1]),
            cl.ArrayIntersectAtSizes("domains", [2, 1]),
            cl.ArrayIntersectAtSizes("rare_follows", [10, 5, 3, 2, 1]),
            cl.ExactMatch("device"),
            cl.ExactMatch("ip").configure(term_frequency_adjustments=True),
        ],
    )
    linker = Linker(frames, settings)
    linker.training.estimate_probability_two_random_records_match([block_on("device")], recall=0.4)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for rule in (block_on("device"), block_on("display_name")):
        linker.training.estimate_parameters_using_expectation_maximisation(rule, record_sample_proportion=1.0)
    pairs = linker.inference.predict(threshold_match_probability=0.001).as_record_list()
    seconds = time.perf_counter() - start
    best: dict[int, tuple[int, float]] = {}
    for pair in pairs:
        number, match, chance = pair["account_id_r"], pair["account_id_l"], pair["match_probability"]
        if pair["source_dataset_l"] == "b_new":
            number, match = match, number
        if chance > best.get(number, (0, -1.0))[1]:
            best[number] = match, chance
    return best, seconds


def _columns(table: pa.Table, rare: pa.Array) -> pa.Table:
    """What Splink compares, with arrays of rare follows and of the bio's words."""
    follows = table["follow_ids"].combine_chunks()
    keep = pc.is_in(pc.list_flatten(follows), value_set=rare)
    parents = pc.list_parent_indices(follows).filter(keep).to_pylist()
    lists: list[list[int]] = [[] for _ in range(len(table))]
    for row, value in zip(parents, pc.list_flatten(follows).filter(keep).to_pylist(), strict=True):
        lists[row].append(value)
    stem = pc.utf8_slice_codeunits(pc.replace_substring_regex(pc.utf8_lower(table["handle"]), "[0-9_]+", ""), 0, 8)
    picked = table.select(["account_id", "handle", "display_name", "domains", "device", "ip"])
    return (
        picked.append_column("stem", stem)
        .append_column("words", pc.split_pattern(table["bio"], " "))
        .append_column("rare_follows", pa.array(lists, pa.list_(pa.int64())))
    )
