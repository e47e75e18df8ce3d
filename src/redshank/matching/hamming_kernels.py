"""The inner loops of `HammingIndex`, compiled by numba: they build the tables of a segment, search them, and mark the dead.

The idea is a pigeonhole on a ring. A hash is 16 words of 16 bits; let d(i) be the distance of two hashes in word i, and
give word i an allowance a(i) so that all of them add up to radius + 1. If the distance is within the radius, then the
numbers d(i) - a(i) add up to less than zero, and by the cycle lemma (Dvoretzky and Motzkin, Duke Mathematical Journal 14,
1947; used for search as the "pigeonring" by Qin and Xiao, VLDB 2018) there is a word from which on, going round the ring,
every partial sum is below zero. Its first two partial sums are what is tested here: d(i) < a(i) chooses at most 17
buckets of word i's table, and d(i) + d(i+1) < a(i) + a(i+1) is tested on word i+1, which lies beside each posting. So a
bucket is read as one run of 16-bit words, 32 at a time, and of random hashes 997 in 1,000 fall away before any cache
miss. Nothing is missed: the test is necessary for every match, and each survivor is compared in full.
"""

# numba reads these functions' bytecode; its types are its own, so the loops are annotated only where Python calls them.
from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from redshank.compiled import instruction, kernel, popcount

PARTS = 16
KEYS = 1 << 16
LANES = 32
"""Words that one step of a scan compares: a cache line of them, where it begins."""

# Where the numbers of a segment stand in its `meta`, an int64 array.
(
    ROWS,
    POSTINGS,
    HIGHS,
    ID_BYTES,
    ID_BASE,
    AT_WORDS,
    AT_IDS,
    AT_OFFSETS,
    AT_NEXT,
    AT_LOWS,
    AT_HIGHS,
    NEXT_STRIDE,
    HIGHS_STRIDE,
) = range(13)
META = 13
WAITING = 512
"""Survivors that are resolved together, so that their cache misses overlap."""


_declared: Any = cgutils.get_or_insert_function


@instruction
def _near(_: Any, words: Any, index: Any, word: Any, limit: Any) -> Any:
    """A bit for each of words[index : index + LANES] that is set where the word differs from `word` in <= limit bits."""
    lane, vector = ir.IntType(16), ir.VectorType(ir.IntType(16), LANES)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def everywhere(value: Any) -> Any:
            first = ir.Constant(ir.IntType(32), 0)
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), builder.trunc(value, lane), first)
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
            return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), zeros)

        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        block = builder.load(builder.bitcast(builder.gep(data, [args[1]]), vector.as_pointer()))
        block.align = 2
        name = f"llvm.ctpop.v{LANES}i16"
        count = _declared(builder.module, ir.FunctionType(vector, [vector]), name)
        bits = builder.call(count, [builder.xor(block, everywhere(args[2]))])
        mask = builder.bitcast(builder.icmp_unsigned("<=", bits, everywhere(args[3])), ir.IntType(LANES))
        return builder.zext(mask, ir.IntType(64))

    return types.uint64(words, types.int64, types.uint64, types.uint64), code


@instruction
def _prefetch(_: Any, array: Any, index: Any) -> Any:
    """Start to load the cache line of array[index]."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        place = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        call = _declared(builder.module, shape, "llvm.prefetch.p0")
        builder.call(call, [place, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), code


@kernel
def _lowest(bits: Any) -> Any:
    """Place of the lowest one bit of a uint64 that is not 0."""
    return np.int64(popcount((bits & (~bits + np.uint64(1))) - np.uint64(1)))


@kernel
def _allowance(part: Any, radius: Any) -> Any:
    """a(part): 0, 1 or 2; the 16 of them add up to radius + 1."""
    return ((part + 1) * (radius + 1)) // PARTS - (part * (radius + 1)) // PARTS


@kernel
def build_tables(words: Any, blob: Any, meta: Any) -> None:
    """Write the 16 tables of a segment into `blob`, whose table sections are zero.

    words: the segment's hashes as uint16 (rows, 16), equal ones side by side. Of equal ones the first is posted.
    A posting's row is kept as in Elias and Fano's lists: its low 16 bits as they are, and its high bits h as a one at
    bit position + key * highs + h of the part's bit string, which grows within a bucket because rows do.
    """
    rows, postings, highs = meta[ROWS], meta[POSTINGS], meta[HIGHS]
    offsets = blob[meta[AT_OFFSETS] :][: PARTS * (KEYS + 1) * 4].view(np.uint32)
    following = blob[meta[AT_NEXT] :][: PARTS * meta[NEXT_STRIDE] * 2].view(np.uint16)
    lows = blob[meta[AT_LOWS] :][: PARTS * postings * 2].view(np.uint16)
    bits = blob[meta[AT_HIGHS] :][: PARTS * meta[HIGHS_STRIDE] * 8].view(np.uint64)
    first = np.empty(postings, np.uint32)
    count = 0
    for row in range(rows):
        same = row > 0
        if same:
            for part in range(PARTS):
                if words[row, part] != words[row - 1, part]:
                    same = False
                    break
        if not same:
            first[count] = row
            count += 1
    cursor = np.empty(KEYS, np.int64)
    for part in range(PARTS):
        cursor[:] = 0
        for k in range(postings):
            cursor[words[first[k], part]] += 1
        total = 0
        table = part * (KEYS + 1)
        for key in range(KEYS):
            offsets[table + key] = total
            size = cursor[key]
            cursor[key] = total
            total += size
        offsets[table + KEYS] = total
        other = (part + 1) % PARTS
        for k in range(postings):
            posted = np.int64(first[k])
            word = np.int64(words[posted, part])
            at = cursor[word]
            cursor[word] = at + 1
            following[part * meta[NEXT_STRIDE] + at] = words[posted, other]
            lows[part * postings + at] = posted & 0xFFFF
            bit = at + word * highs + (posted >> 16)
            bits[part * meta[HIGHS_STRIDE] + (bit >> 6)] |= np.uint64(1) << np.uint64(bit & 63)


@kernel
def count_distinct(words: Any) -> Any:
    """How many runs of equal hashes there are in words, uint64 (rows, 4)."""
    count = 0
    for row in range(words.shape[0]):
        if row == 0 or (
            words[row, 0] != words[row - 1, 0]
            or words[row, 1] != words[row - 1, 1]
            or words[row, 2] != words[row - 1, 2]
            or words[row, 3] != words[row - 1, 3]
        ):
            count += 1
    return count


@kernel
def _distance(words: Any, row: Any, query: Any) -> Any:
    """Hamming distance of a row and the query; words is uint64 (rows, 4) laid flat."""
    at = row * 4
    return np.int64(
        popcount(words[at] ^ query[0])
        + popcount(words[at + 1] ^ query[1])
        + popcount(words[at + 2] ^ query[2])
        + popcount(words[at + 3] ^ query[3])
    )


@kernel
def _is_dead(dead: Any, row: Any) -> Any:
    return dead.size > 0 and (dead[row >> 3] >> (row & 7)) & 1 != 0


@kernel
def _found_before(words16: Any, row: Any, query16: Any, part: Any, radius: Any) -> Any:
    """Whether the table of an earlier part leads to this row as well, and has reported it."""
    for i in range(part):
        allowed = _allowance(i, radius)
        here = np.int64(popcount(words16[row * PARTS + i] ^ query16[i]))
        if here < allowed:
            there = np.int64(popcount(words16[row * PARTS + i + 1] ^ query16[i + 1]))
            if here + there < allowed + _allowance(i + 1, radius):
                return True
    return False


@kernel
def search_tables(query: Any, radius: Any, blob: Any, meta: Any, dead: Any, out: Any, found: Any) -> Any:
    """Search a segment that has tables.

    query: uint64 (4,). blob, meta: the segment. dead: a bit for each row, or empty. out: int64 (room, 2) takes ids and
    distances from row `found` on. Returns found + the number of matches, which may exceed the room.
    """
    rows, postings, highs = meta[ROWS], meta[POSTINGS], meta[HIGHS]
    next_stride, highs_stride = meta[NEXT_STRIDE], meta[HIGHS_STRIDE]
    words = blob[meta[AT_WORDS] :][: rows * 32].view(np.uint64)
    words16 = words.view(np.uint16)
    ids4 = blob[meta[AT_IDS] :][: rows * 4].view(np.uint32)
    ids8 = blob[meta[AT_IDS] :][: rows * meta[ID_BYTES] // 8 * 8].view(np.int64)
    offsets = blob[meta[AT_OFFSETS] :][: PARTS * (KEYS + 1) * 4].view(np.uint32)
    following = blob[meta[AT_NEXT] :][: PARTS * next_stride * 2].view(np.uint16)
    lows = blob[meta[AT_LOWS] :][: PARTS * postings * 2].view(np.uint16)
    bits = blob[meta[AT_HIGHS] :][: PARTS * highs_stride * 8].view(np.uint64)
    query16 = query.view(np.uint16)

    # First the buckets: their places are looked up and their words called for, all misses at once.
    run_part = np.empty(PARTS * 17, np.int64)
    run_key = np.empty(PARTS * 17, np.int64)
    run_start = np.empty(PARTS * 17, np.int64)
    run_end = np.empty(PARTS * 17, np.int64)
    run_limit = np.empty(PARTS * 17, np.uint64)
    runs = 0
    for part in range(PARTS):
        allowed = _allowance(part, radius)
        if allowed == 0:
            continue
        limit = np.uint64(allowed + _allowance((part + 1) % PARTS, radius) - 1)
        for flip in range(17 if allowed > 1 else 1):
            key = np.int64(query16[part]) ^ ((1 << flip) >> 1)
            start = np.int64(offsets[part * (KEYS + 1) + key])
            end = np.int64(offsets[part * (KEYS + 1) + key + 1])
            if start < end:
                run_part[runs] = part
                run_key[runs] = key
                run_start[runs] = start
                run_end[runs] = end
                run_limit[runs] = limit - np.uint64(1) if flip else limit
                runs += 1
                line = part * next_stride + (start & -LANES)
                last = min(part * next_stride + end, line + 8 * LANES)
                while line < last:
                    _prefetch(following, line)
                    line += LANES

    wait_run = np.empty(WAITING + LANES, np.int64)
    wait_at = np.empty(WAITING + LANES, np.int64)
    wait_row = np.empty(WAITING + LANES, np.int64)
    waiting = 0
    run = 0
    at = run_start[0] & -LANES if runs else 0
    now = -1  # The run whose bit string is being read, and how far: `seen` ones before what is left of word `place`.
    left = np.uint64(0)
    seen = place = np.int64(0)
    while True:
        # Scan until enough survivors wait, or all runs are done. Steps are whole cache lines; what is not the bucket's is
        # masked off.
        while run < runs and waiting < WAITING:
            part = run_part[run]
            start, end, limit = run_start[run], run_end[run], run_limit[run]
            word = np.uint64(query16[(part + 1) % PARTS])
            while at < end and waiting < WAITING:
                mask = _near(following, part * next_stride + at, word, limit)
                if mask:
                    if at < start:
                        mask &= ~np.uint64(0) << np.uint64(start - at)
                    if end - at < LANES:
                        mask &= (np.uint64(1) << np.uint64(end - at)) - np.uint64(1)
                    while mask:
                        posting = at + _lowest(mask)
                        mask &= mask - np.uint64(1)
                        wait_run[waiting] = run
                        wait_at[waiting] = posting
                        waiting += 1
                        _prefetch(lows, part * postings + posting)
                        _prefetch(bits, part * highs_stride + ((start + run_key[run] * highs) >> 6))
                at += LANES
            if at >= end:
                run += 1
                if run < runs:
                    at = run_start[run] & -LANES
        # Their rows: within a bucket they come in order, so the bit string is read once.
        for k in range(waiting):
            part = run_part[wait_run[k]]
            start, key = run_start[wait_run[k]], run_key[wait_run[k]]
            base = part * highs_stride
            if wait_run[k] != now:
                now = wait_run[k]
                bit = start + key * highs
                seen, place = np.int64(0), bit >> 6
                left = bits[base + place] & ~((np.uint64(1) << np.uint64(bit & 63)) - np.uint64(1))
            wanted = wait_at[k] - start
            here = np.int64(popcount(left))
            while seen + here <= wanted and place + 1 < highs_stride:
                seen += here
                place += 1
                left = bits[base + place]
                here = np.int64(popcount(left))
            rest = left
            for _ in range(wanted - seen):
                rest &= rest - np.uint64(1)
            row = -1
            if rest:
                high = (place << 6) + _lowest(rest) - wait_at[k] - key * highs
                row = (high << 16) | np.int64(lows[part * postings + wait_at[k]])
            if row < 0 or row >= rows:  # Only in a damaged file; never read outside of it.
                row = 0
            wait_row[k] = row
            _prefetch(words, row * 4)
        # And the full comparison.
        for k in range(waiting):
            row = wait_row[k]
            distance = _distance(words, row, query)
            if distance <= radius and not _found_before(words16, row, query16, run_part[wait_run[k]], radius):
                twin = row
                while True:
                    if not _is_dead(dead, twin):
                        if found < out.shape[0]:
                            if meta[ID_BYTES] == 4:
                                out[found, 0] = np.int64(ids4[twin]) + meta[ID_BASE]
                            else:
                                out[found, 0] = ids8[twin]
                            out[found, 1] = distance
                        found += 1
                    twin += 1
                    if twin >= rows or (
                        words[twin * 4] != words[row * 4]
                        or words[twin * 4 + 1] != words[row * 4 + 1]
                        or words[twin * 4 + 2] != words[row * 4 + 2]
                        or words[twin * 4 + 3] != words[row * 4 + 3]
                    ):
                        break
        waiting = 0
        if run >= runs:
            return found


@kernel
def search_rows(query: Any, radius: Any, words: Any, ids: Any, rows: Any, dead: Any, out: Any, found: Any) -> Any:
    """Compare with each of the first `rows` of words, uint64 laid flat, and ids, int64; else as `search_tables`."""
    first, second = query[0], query[1]
    for row in range(rows):
        near = np.int64(popcount(words[row * 4] ^ first) + popcount(words[row * 4 + 1] ^ second))
        if near <= radius:
            distance = _distance(words, row, query)
            if distance <= radius and not _is_dead(dead, row):
                if found < out.shape[0]:
                    out[found, 0] = ids[row]
                    out[found, 1] = distance
                found += 1
    return found


@kernel
def _grown(array: Any, used: Any, size: Any) -> Any:
    bigger = np.empty((size, array.shape[1]), array.dtype)
    bigger[:used] = array[:used]
    return bigger


@kernel
def search_many_tables(queries: Any, radius: Any, blob: Any, meta: Any, dead: Any) -> Any:
    """`search_tables` for each of queries, uint64 (n, 4): counts int64 (n,), and ids and distances int64 (matches, 2)."""
    counts = np.empty(queries.shape[0], np.int64)
    out = np.empty((max(64, queries.shape[0]), 2), np.int64)
    found = 0
    for k in range(queries.shape[0]):
        after = search_tables(queries[k], radius, blob, meta, dead, out, found)
        if after > out.shape[0]:
            out = _grown(out, found, 2 * after)
            after = search_tables(queries[k], radius, blob, meta, dead, out, found)
        counts[k] = after - found
        found = after
    return counts, out[:found]


@kernel
def search_many_rows(queries: Any, radius: Any, words: Any, ids: Any, rows: Any, dead: Any) -> Any:
    """`search_rows` for each of queries; returns as `search_many_tables`."""
    counts = np.empty(queries.shape[0], np.int64)
    out = np.empty((max(64, queries.shape[0]), 2), np.int64)
    found = 0
    for k in range(queries.shape[0]):
        after = search_rows(queries[k], radius, words, ids, rows, dead, out, found)
        if after > out.shape[0]:
            out = _grown(out, found, 2 * after)
            after = search_rows(queries[k], radius, words, ids, rows, dead, out, found)
        counts[k] = after - found
        found = after
    return counts, out[:found]


@kernel
def mark_dead(ids: Any, base: Any, rows: Any, gone: Any, dead: Any) -> Any:
    """Set the bit in `dead` of each of the first `rows` whose ids[row] + base is in `gone`, int64, sorted.

    Returns how many were alive before.
    """
    marked = 0
    # Most ids are told apart by their low 20 bits, in a table that stays in the cache.
    maybe = np.zeros(1 << 14, np.uint64)
    for value in gone:
        maybe[(value & 0xFFFFF) >> 6] |= np.uint64(1) << np.uint64(value & 63)
    for row in range(rows):
        value = np.int64(ids[row]) + base
        if not (maybe[(value & 0xFFFFF) >> 6] >> np.uint64(value & 63)) & np.uint64(1):
            continue
        at = np.searchsorted(gone, value)
        if at < gone.size and gone[at] == value:
            bit = np.uint8(1 << (row & 7))
            if not dead[row >> 3] & bit:
                dead[row >> 3] |= bit
                marked += 1
    return marked
