"""The inner loops of finding accounts that act together, compiled by numba: shares thinned, pairs counted and weighed.

The idea is that pairs are met twice and kept never: the first walk over all pairs within the window only counts them into
a small table of bytes, the second writes down those few whose place in it says that they could have met often enough.
"""

# numba reads these functions' bytecode; its types are its own, so the loops are annotated only where Python calls them.
from __future__ import annotations

import math
from typing import Any

import numpy as np

from redshank.compiled import kernel, mix

LEVELS = 16
"""Objects are taken level by level: those that up to 4, 16, 64, … pairs of shares met over, rare ones first."""

WIDER = 4
"""Levels above that of an object whose shares are still compared with it: up to 256 times as many pairs met over these. With
all levels, one thing that everybody shares once would make whoever shares anything else look rare; with none, the campaign
itself would be most of what it is compared with."""


@kernel
def thin(objects: Any, accounts: Any, times: Any, window: Any) -> Any:
    """Which rows to keep, bool (n,): of one account's shares of one object, none within `window` after a kept one.

    Rows are in the order of object, account, time.
    """
    keep = np.ones(len(objects), np.bool_)
    last = 0.0
    for i in range(len(objects)):
        same = i > 0 and objects[i] == objects[i - 1] and accounts[i] == accounts[i - 1]
        if same and times[i] - last <= window:
            keep[i] = False
        else:
            last = times[i]
    return keep


@kernel
def count_meetings(times: Any, start: Any, end: Any, window: Any) -> Any:
    """How many pairs of the shares `start` to `end`, in the order of time, lie no more than `window` seconds apart."""
    low = start
    total = 0
    for i in range(start, end):
        while times[i] - times[low] > window:
            low += 1
        total += i - low
    return total


@kernel
def meetings(starts: Any, times: Any, window: Any) -> Any:
    """`count_meetings` of every object, int64 (objects,)."""
    out = np.empty(len(starts) - 1, np.int64)
    for o in range(len(out)):
        out[o] = count_meetings(times, starts[o], starts[o + 1], window)
    return out


@kernel
def narrow(starts: Any, times: Any, window: Any, counts: Any, cap: Any) -> Any:
    """A window and a reach for each object, so that at most about `cap` pairs of its shares are looked at; `counts` follows.

    The window, float64, becomes as narrow as it must. Where too many shares bear the very same time, it is 0, all pairs of
    that time are counted (the chance of a meeting is theirs), but only the next few shares after each, `reach`, are met.
    """
    windows = np.full(len(counts), window, np.float64)
    reach = np.full(len(counts), np.iinfo(np.int64).max, np.int64)
    for o in range(len(counts)):
        if counts[o] <= cap:
            continue
        low, high = 0.0, float(window)
        for _ in range(40):
            middle = (low + high) / 2
            if count_meetings(times, starts[o], starts[o + 1], middle) <= cap:
                low = middle
            else:
                high = middle
        windows[o] = low
        counts[o] = count_meetings(times, starts[o], starts[o + 1], low)
        if counts[o] > cap:
            reach[o] = max(1, cap // (starts[o + 1] - starts[o]))
    return windows, reach


@kernel
def level_of(count: Any) -> Any:
    """The level of an object over which `count` pairs of shares met: half the bits that the number takes."""
    level = 0
    while count > 3 and level < LEVELS - 1:
        count >>= 2
        level += 1
    return level


@kernel
def chances(starts: Any, times: Any, windows: Any, counts: Any, kinds: Any, groups: Any, sizes: Any) -> Any:
    """Meetings by kind, the two groups, and level of the object or a lower one: float64 (kinds, groups, groups, LEVELS).

    `kinds` are the objects', `groups` the shares' (the network of each). A meeting of two groups stands in both orders.
    """
    number = sizes[1]
    out = np.zeros((sizes[0], number, number, LEVELS), np.float64)
    inside = np.zeros(number, np.int64)
    for o in range(len(counts)):
        if counts[o] == 0:
            continue
        level = level_of(counts[o])
        inside[:] = 0
        low = starts[o]
        for i in range(starts[o], starts[o + 1]):
            while times[i] - times[low] > windows[o]:
                inside[groups[low]] -= 1
                low += 1
            here = groups[i]
            for other in range(number):
                if inside[other]:
                    out[kinds[o], here, other, level] += inside[other]
                    if other != here:
                        out[kinds[o], other, here, level] += inside[other]
            inside[here] += 1
    for level in range(1, LEVELS):
        out[:, :, :, level] += out[:, :, :, level - 1]
    return out


@kernel
def acts_of(objects: Any, accounts: Any, times: Any, windows: Any, counts: Any, kinds: Any, sizes: Any) -> Any:
    """Shares that met another one, by kind, level of the object or a lower one, and account: int32, of those `sizes`."""
    out = np.zeros((sizes[0], LEVELS, sizes[1]), np.int32)
    n = len(objects)
    for i in range(n):
        o = objects[i]
        before = i > 0 and objects[i - 1] == o and times[i] - times[i - 1] <= windows[o]
        after = i + 1 < n and objects[i + 1] == o and times[i + 1] - times[i] <= windows[o]
        if before or after:
            out[kinds[o], level_of(counts[o]), accounts[i]] += 1
    for level in range(1, LEVELS):
        out[:, level] += out[:, level - 1]
    return out


@kernel
def promising(objects: Any, accounts: Any, times: Any, windows: Any, n_accounts: Any, least: Any) -> Any:
    """Which rows could be part of a tie, bool (n,): of accounts that met somebody over at least `least` shares."""
    keep = np.ones(len(objects), np.bool_)
    while True:
        met = np.zeros(n_accounts, np.int64)
        paired = np.zeros(len(objects), np.bool_)
        last = -1
        for i in range(len(objects)):
            if not keep[i]:
                continue
            if last >= 0 and objects[i] == objects[last] and times[i] - times[last] <= windows[objects[i]]:
                for row in (last, i):
                    if not paired[row]:
                        paired[row] = True
                        met[accounts[row]] += 1
            last = i
        gone = 0
        for i in range(len(objects)):
            if keep[i] and (not paired[i] or met[accounts[i]] < least):
                keep[i] = False
                gone += 1
        if gone * 50 <= len(objects):  # What is left to gain is less than a further round costs.
            return keep


@kernel
def tally(objects: Any, accounts: Any, times: Any, windows: Any, reach: Any, n_accounts: Any, table: Any) -> Any:
    """Counts each meeting at the place of its two accounts in `table`, uint8 (a power of two,), which ends at 255."""
    mask = np.uint64(len(table) - 1)
    low = 0
    for i in range(len(objects)):
        o = objects[i]
        while objects[low] != o or times[i] - times[low] > windows[o]:
            low += 1
        one = np.int64(accounts[i])
        for j in range(max(low, i - reach[o]), i):
            other = np.int64(accounts[j])
            place = mix(min(one, other) * n_accounts + max(one, other)) & mask
            if table[place] < 255:
                table[place] += np.uint8(1)


@kernel
def frequent(
    objects: Any, accounts: Any, times: Any, windows: Any, reach: Any, n_accounts: Any, table: Any, least: Any, out: Any
) -> Any:
    """Puts the meetings at places that were counted at least `least` times into `out`; gives their number.

    `out` is the pairs' keys, uint64, and the two rows, int32; where it is empty the meetings are only counted.
    """
    mask = np.uint64(len(table) - 1)
    keys, firsts, seconds = out
    write = len(keys) > 0
    at = 0
    low = 0
    for i in range(len(objects)):
        o = objects[i]
        while objects[low] != o or times[i] - times[low] > windows[o]:
            low += 1
        one = np.int64(accounts[i])
        for j in range(max(low, i - reach[o]), i):
            other = np.int64(accounts[j])
            key = min(one, other) * n_accounts + max(one, other)
            if table[mix(key) & mask] >= least:
                if write:
                    keys[at] = key
                    firsts[at] = j
                    seconds[at] = i
                at += 1
    return at


@kernel
def tail_bits(count: Any, mean: Any) -> Any:
    """How surprising `count` or more of what is expected `mean` times: bits, never more than -log2 of the Poisson tail.

    The tail is bounded by its first term times the geometric series that lies above the rest.
    """
    if count <= mean or count == 0:
        return 0.0
    if mean <= 0.0:
        mean = 1e-300
    first = count * math.log(mean) - mean - math.lgamma(count + 1.0)
    return max(0.0, -(first - math.log(1.0 - mean / (count + 1.0))) / math.log(2.0))


@kernel
def weigh(
    order: Any, keys: Any, firsts: Any, seconds: Any, objects: Any, accounts: Any, posts: Any, counts: Any,
    acts: Any, totals: Any, groups: Any, met: Any, n_accounts: Any, least: Any, limits: Any, out: Any,
) -> Any:  # fmt: skip
    """Surprise of each pair that met over `least` objects or more, before correction; gives the number of pairs kept.

    `order` sorts the meetings by key; `acts` are of `acts_of`, `totals` their sums by group, float64 (kinds, LEVELS, groups), `met` of `chances`.
    Kept are pairs of at least `limits` bits; `out` takes the accounts, the objects met over, the bits, and the first and
    the last of their meetings in `order`. Each post counts once, however many things it carried.
    """
    seen_object = np.full(len(counts), -1, np.int64)
    seen_post = np.full(posts.max() + 1 if len(posts) else 0, -1, np.int64)
    expected = np.empty(LEVELS, np.float64)
    kept = 0
    begin = 0
    while begin < len(order):
        key = keys[order[begin]]
        end = begin
        while end < len(order) and keys[order[end]] == key:
            end += 1
        if end - begin < least:
            begin = end
            continue
        one, other = np.int64(key) // n_accounts, np.int64(key) % n_accounts
        a, b = groups[one], groups[other]
        for level in range(LEVELS):
            expected[level] = 0.0
            wide = min(level + WIDER, LEVELS - 1)
            for kind in range(len(acts)):
                total = totals[kind, wide, a]
                ways = float(acts[kind, wide, one]) * acts[kind, wide, other]
                if ways > 0.0:
                    if a == b:
                        ways *= 2.0 / (total * (total - 1.0))
                    else:
                        ways /= total * totals[kind, wide, b]
                    expected[level] += ways * met[kind, a, b, level]
        some = order[begin:end]
        rank = np.empty(len(some), np.int64)
        for i in range(len(some)):
            rank[i] = counts[objects[firsts[some[i]]]]
        rising = np.argsort(rank, kind="mergesort")
        number = 0
        bits = 0.0
        for i in range(len(some)):
            meeting = some[rising[i]]
            s, t = firsts[meeting], seconds[meeting]
            o = objects[s]
            if seen_object[o] != begin and seen_post[posts[s]] != begin and seen_post[posts[t]] != begin:
                seen_object[o] = seen_post[posts[s]] = seen_post[posts[t]] = begin
                number += 1
                if number >= least:
                    bits = max(bits, tail_bits(number, expected[level_of(counts[o])]))
        if number >= least and bits >= limits:
            out[0][kept], out[1][kept], out[2][kept], out[3][kept] = one, other, number, bits
            out[4][kept], out[5][kept] = begin, end
            kept += 1
        begin = end
    return kept


@kernel
def propagate(starts: Any, others: Any, weights: Any, rounds: Any) -> Any:
    """Communities by label propagation (Raghavan, Albert, Kumara, 2007): each account takes the label of most weight around it.

    Accounts are asked in their order and a draw goes to the label held, else to the smaller: the same graph gives the same
    communities. Gives labels, int64 (accounts,).
    """
    n = len(starts) - 1
    labels: Any = np.arange(n)
    weight = np.zeros(n, np.float64)
    for _ in range(rounds):
        changed = 0
        for i in range(n):
            best, most = labels[i], 0.0
            for e in range(starts[i], starts[i + 1]):
                weight[labels[others[e]]] += weights[e]
            if starts[i + 1] > starts[i]:
                most = weight[best]
                for e in range(starts[i], starts[i + 1]):
                    label = labels[others[e]]
                    if weight[label] > most or (weight[label] == most and label < best and best != labels[i]):
                        best, most = label, weight[label]
            for e in range(starts[i], starts[i + 1]):
                weight[labels[others[e]]] = 0.0
            if best != labels[i]:
                labels[i] = best
                changed += 1
        if changed == 0:
            break
    return labels


@kernel
def sketch_text(codes: Any, size: Any, out: Any) -> Any:
    """One-permutation MinHash of the runs of `size` code points in `codes`, int32, into `out`, uint32 (places,).

    Li, Owen, Zhang: One Permutation Hashing, 2012; empty places borrow from the next full one (Shrivastava, Li, 2014).
    """
    places = len(out)
    empty = np.uint32(0xFFFFFFFF)
    out[:] = empty
    for i in range(len(codes) - size + 1):
        h = np.uint64(0xCBF29CE484222325)
        for j in range(i, i + size):
            h = (h ^ np.uint64(codes[j])) * np.uint64(0x100000001B3)
        h = mix(h)
        place = np.int64(h >> np.uint64(40)) % places
        out[place] = min(out[place], np.uint32(h & np.uint64(0xFFFFFFFE)))
    if out.min() == empty:
        full = out.copy()
        for bare in range(places):
            step = 0
            while step < places and full[(bare + step) % places] == empty:
                step += 1
            if step and step < places:
                out[bare] = np.uint32(mix(np.uint64(full[(bare + step) % places]) + np.uint64(step)) >> np.uint64(33))


@kernel
def stand_for(sketches: Any, heads: Any, enough: Any, same: Any) -> Any:
    """For each text the one that stands for it, int64 (n,), -1 for those that are not long `enough`.

    `heads`, int32 (bands, n), is the first text with the same band. A text is held against what stands for those heads, and
    joins the one it agrees with in most places, if these are at least `same`; else it stands for itself.
    """
    out: Any = np.full(len(sketches), -1, np.int64)
    for i in range(len(sketches)):
        if not enough[i]:
            continue
        best, most = i, same - 1
        for band in range(len(heads)):
            head = heads[band, i]
            if head == i or out[head] < 0:
                continue
            leader = out[head]
            agreed = 0
            for place in range(sketches.shape[1]):
                agreed += sketches[leader, place] == sketches[i, place]
            if agreed > most:
                best, most = leader, agreed
        out[i] = best
    return out
