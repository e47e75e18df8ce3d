"""The inner loops of linking accounts, compiled by numba: keys are hashed and merged, postings counted, pairs compared.

The idea is that one new account is one walk: over the postings of its rarest keys, then over the runs of keys of the few
accounts that this brought up. Nothing here allocates by the size of the index but its own counters.
"""

# numba reads these functions' bytecode; its types are its own, so the loops are annotated only where Python calls them.
from __future__ import annotations

import math
from typing import Any

import numpy as np

from redshank.compiled import kernel, mix


@kernel
def hash_spans(data: Any, ends: Any, kinds: Any) -> Any:
    """Keys uint32 (n,) of `n` strings that lie one after the other in `data`, uint8; FNV-1a with `mix` at the end."""
    out = np.empty(len(ends), np.uint32)
    at = 0
    for i in range(len(ends)):
        h = np.uint64(0xCBF29CE484222325) ^ (np.uint64(kinds[i] + 1) * np.uint64(0x9E3779B97F4A7C15))
        while at < ends[i]:
            h = (h ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
            at += 1
        out[i] = np.uint32(mix(h) >> np.uint64(32))
    return out


@kernel
def merge_keys(starts: Any, keys: Any, kinds: Any, more_starts: Any, more: Any, limits: Any) -> Any:
    """Both sources as one run of distinct keys an account, by kind and key: keys, kinds, starts, counts of each kind."""
    n = len(starts) - 1
    k = len(limits)
    out_keys = np.empty(len(keys) + len(more), np.uint32)
    out_kinds = np.empty(len(keys) + len(more), np.uint8)
    out_starts = np.zeros(n + 1, np.int64)
    counts = np.zeros((n, k), np.uint16)
    seen = np.zeros(k, np.int64)
    at = 0
    for i in range(n):
        a, b = starts[i], starts[i + 1]
        c, d = more_starts[i], more_starts[i + 1]
        both = np.empty((b - a) + (d - c), np.uint64)
        for j in range(a, b):
            both[j - a] = (np.uint64(kinds[j]) << np.uint64(32)) | np.uint64(keys[j])
        for j in range(c, d):
            both[(b - a) + (j - c)] = np.uint64(more[j])
        both.sort()
        seen[:] = 0
        for j in range(len(both)):
            key = np.int64(both[j] & np.uint64(0xFFFFFFFF))
            kind = np.int64(both[j] >> np.uint64(32))
            if kind >= k or (j and both[j] == both[j - 1]):
                continue
            seen[kind] += 1
            if seen[kind] <= limits[kind]:
                out_keys[at] = np.uint32(key)
                out_kinds[at] = np.uint8(kind)
                at += 1
        for j in range(k):
            counts[i, j] = np.uint16(min(seen[j], 65535))
        out_starts[i + 1] = at
    return out_keys[:at].copy(), out_kinds[:at].copy(), out_starts, counts


@kernel
def kinds_of(starts: Any, counts: Any, limits: Any) -> Any:
    """The kind of each key, uint8, which follows from how many there are of each."""
    out = np.empty(starts[-1], np.uint8)
    for i in range(len(starts) - 1):
        at = starts[i]
        for kind in range(len(limits)):
            for _ in range(min(np.int64(counts[i, kind]), limits[kind])):
                if at < starts[i + 1]:
                    out[at] = kind
                    at += 1
    return out


@kernel
def spread(starts: Any, rows: Any, new_starts: Any) -> Any:
    """Where the runs of `rows` lie, int64, one place a key."""
    out = np.empty(new_starts[-1], np.int64)
    at = 0
    for row in rows:
        for place in range(starts[row], starts[row + 1]):
            out[at] = place
            at += 1
    return out


LOOKUPS = 5
"""Keys by which an account is found but not compared: four bands of the avatar's hash, and the handle's skeleton."""
NO_KEY = np.int64(-1)


@kernel
def lookup_keys(avatar: Any, handle: Any, out: Any) -> Any:
    """Put the lookup keys of one account into `out`, int64 (5,); -1 where it has none."""
    out[:] = -1
    if avatar[0] != 0 or avatar[1] != 0 or avatar[2] != 0 or avatar[3] != 0:
        for band in range(4):
            word = np.uint64(avatar[band >> 1])
            part = (word >> np.uint64(32 * (band & 1))) & np.uint64(0xFFFFFFFF)
            out[band] = np.int64(mix(part | (np.uint64(band + 1) << np.uint64(34))) >> np.uint64(32))
    h = np.uint64(0xA5A5A5A5A5A5A5A5)
    size = 0
    for char in handle:
        if char == 0:
            break
        h = (h ^ np.uint64(char)) * np.uint64(0x100000001B3)
        size += 1
    if size >= 4:
        out[4] = np.int64(mix(h) >> np.uint64(32))


@kernel
def sort_by_key(pairs: Any, spare: Any, count: Any) -> Any:
    """The first `count` pairs, uint64, by their upper half, those of one key in the order that they came; by radix."""
    for shift in (32, 43, 54):
        places = np.zeros(2049, np.int64)
        for i in range(count):
            places[((pairs[i] >> np.uint64(shift)) & np.uint64(2047)) + np.uint64(1)] += 1
        for i in range(2048):
            places[i + 1] += places[i]
        for i in range(count):
            digit = (pairs[i] >> np.uint64(shift)) & np.uint64(2047)
            spare[places[digit]] = pairs[i]
            places[digit] += 1
        pairs, spare = spare, pairs
    return pairs


@kernel
def build_postings(starts: Any, keys: Any, avatars: Any, handles: Any, cap: Any) -> Any:
    """Inverts accounts: vocabulary, where each key's accounts start, the accounts; the keys that one account alone has,
    whose accounts stand after all others; and the keys of more than `cap`, counted.

    Of many keys, one sixteenth at a time, so that the memory needed beside the result stays small.
    """
    n = len(starts) - 1
    total = len(keys) + n * LOOKUPS
    looked = np.empty((n, LOOKUPS), np.int64)
    for i in range(n):
        lookup_keys(avatars[i], handles[i], looked[i])
    vocabulary = np.empty(total, np.uint32)
    firsts = np.empty(total + 1, np.uint32)
    docs = np.empty(total, np.uint32)
    lone = np.empty(total, np.uint32)
    lone_docs = np.empty(total, np.uint32)
    common = np.empty(total // (cap + 1) + 1, np.uint32)
    counted = np.empty(total // (cap + 1) + 1, np.uint32)
    terms = at = commons = lonely = 0
    pairs = np.empty(total // 8 + 1024, np.uint64)
    parts = 16 if total > 1 << 22 else 1
    for part in range(parts):
        filled = 0
        for i in range(n):
            for j in range(starts[i], starts[i + 1] + LOOKUPS):
                key = np.int64(keys[j]) if j < starts[i + 1] else looked[i, j - starts[i + 1]]
                if key >= 0 and (parts == 1 or key >> 28 == part):
                    if filled == len(pairs):
                        grown = np.empty(2 * filled, np.uint64)
                        grown[:filled] = pairs
                        pairs = grown
                    pairs[filled] = (np.uint64(key) << np.uint64(32)) | np.uint64(i)
                    filled += 1
        spare = np.empty(filled, np.uint64)
        some = sort_by_key(pairs, spare, filled)
        j = 0
        while j < filled:
            key = some[j] >> np.uint64(32)
            end = j
            while end < filled and some[end] >> np.uint64(32) == key:
                end += 1
            if end - j > cap:
                common[commons] = key
                counted[commons] = end - j
                commons += 1
            elif end - j == 1:
                lone[lonely] = key
                lone_docs[lonely] = some[j] & np.uint64(0xFFFFFFFF)
                lonely += 1
            else:
                vocabulary[terms] = key
                firsts[terms] = at
                terms += 1
                last = np.int64(-1)
                for e in range(j, end):
                    doc = np.int64(some[e] & np.uint64(0xFFFFFFFF))
                    if doc != last:
                        docs[at] = doc
                        at += 1
                    last = doc
            j = end
    firsts[terms] = at
    return (
        vocabulary[:terms].copy(),
        firsts[: terms + 1].copy(),
        np.concatenate((docs[:at], lone_docs[:lonely])),
        lone[:lonely].copy(),
        common[:commons].copy(),
        counted[:commons].copy(),
    )


@kernel
def build_directory(vocabulary: Any) -> Any:
    """For each of 65,536 leading halves of a key, where its keys begin in the vocabulary; uint32 (65537,)."""
    out = np.empty(65537, np.uint32)
    at = 0
    for head in range(65536):
        while at < len(vocabulary) and np.int64(vocabulary[at]) >> 16 < head:
            at += 1
        out[head] = at
    out[65536] = len(vocabulary)
    return out


@kernel
def find_key(key: Any, directory: Any, keys: Any) -> Any:
    """Where `key` stands in `keys`, ascending, or -1."""
    low, high = np.int64(directory[key >> 16]), np.int64(directory[(key >> 16) + 1])
    while low < high:
        middle = (low + high) >> 1
        if np.int64(keys[middle]) < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and np.int64(keys[low]) == key else np.int64(-1)


@kernel
def find_keys(
    wanted: Any,
    directory: Any,
    vocabulary: Any,
    firsts: Any,
    lone_directory: Any,
    lone: Any,
    common: Any,
    counted: Any,
    lows: Any,
    highs: Any,
    frequencies: Any,
) -> Any:
    """For each wanted key, int64, its postings' place and how many accounts have it, added to `frequencies`."""
    for i in range(len(wanted)):
        lows[i] = highs[i] = 0
        key = wanted[i]
        if key < 0:
            continue
        place = find_key(key, lone_directory, lone)
        if place >= 0:
            lows[i] = np.int64(firsts[-1]) + place
            highs[i] = lows[i] + 1
            frequencies[i] += 1
            continue
        place = find_key(key, directory, vocabulary)
        if place >= 0:
            lows[i], highs[i] = firsts[place], firsts[place + 1]
            frequencies[i] += highs[i] - lows[i]
            continue
        low, high = np.int64(0), np.int64(len(common))
        while low < high:
            middle = (low + high) >> 1
            if np.int64(common[middle]) < key:
                low = middle + 1
            else:
                high = middle
        if low < len(common) and np.int64(common[low]) == key:
            frequencies[i] += counted[low]


@kernel
def time_bits(created: Any, ended: Any) -> Any:
    """A first guess at what the time between a suspension and a sign-up says; 0 where one is not known."""
    if created == 0 or ended == 0:
        return np.float32(0)
    days = (created - np.int64(ended)) / 86400.0
    if days < -1:
        return np.float32(-8)
    if days < 7:
        return np.float32(6)
    if days < 30:
        return np.float32(4)
    if days < 120:
        return np.float32(0)
    return np.float32(-4)


@kernel
def gather(
    order: Any,
    lows: Any,
    highs: Any,
    weights: Any,
    docs: Any,
    dead: Any,
    ended: Any,
    created: Any,
    counters: Any,
    touched: Any,
    budget: Any,
    best: Any,
    scores: Any,
) -> Any:
    """Add up the weights of shared keys and keep the best accounts: places in `best`, int64, their sums in `scores`.

    Keys are taken in `order` (rarest first) until `budget` postings are read. `counters`, float32, are all 0 before and
    after. The best come first. Returns how many there are.
    """
    n = len(counters)
    many = 0
    for i in order:
        if weights[i] <= 0:
            continue
        budget -= highs[i] - lows[i]
        if budget < 0:
            break
        for j in range(lows[i], highs[i]):
            doc = docs[j]
            if doc < n:
                if counters[doc] == 0:
                    touched[many] = doc
                    many += 1
                counters[doc] += weights[i]
    k = len(best)
    found = 0
    for j in range(many):
        doc = touched[j]
        score = counters[doc]
        counters[doc] = 0
        if dead[doc] or (found == k and score + 8 <= scores[k - 1]):
            continue
        score += time_bits(created, ended[doc])
        if found == k and score <= scores[k - 1]:
            continue
        place = found if found < k else k - 1
        found = min(found + 1, k)
        while place > 0 and scores[place - 1] < score:
            scores[place] = scores[place - 1]
            best[place] = best[place - 1]
            place -= 1
        scores[place] = score
        best[place] = doc
    return found


NETWORK = 1e7
"""Accounts of a whole network, by which the prior of `chance_of` is set."""
FEW = 64
"""A count among fewer accounts than about this leans on what is known of all."""
FLOOR_BITS = 8.0
"""Keys shared by more than one account in 2**8 do not help to find; above, each bit counts. Chosen on two made-up worlds; a guess until a platform measures it."""


@kernel
def chance_of(others: Any, total: Any, known: Any, sampled: Any) -> Any:
    """How probable it is that an account which has nothing to do with it carries a key, float64.

    `others` of `total` suspended accounts do, and `known` of `sampled` accounts of the network. Both together are one sample,
    with a prior count of 1 / ln(NETWORK / n) (at most a half): most of what one account carries hardly anybody else does, if the
    popularity of things follows Zipf's law, whose rare end a sample of n has not seen. Where one of the two knows a key to be
    commoner than both together do, it is taken at its word, but for `FEW` accounts' worth of doubt. Where nobody was counted it
    is the share of the suspended alone, with a half more.
    """
    if sampled <= 0:
        return (others + 0.5) / (total + 1)
    n = total + sampled
    prior = 1 / max(math.log(NETWORK / n), 2.0)
    all_ = (others + known + prior) / (n + 1)
    return max(all_, (others + FEW * all_) / (total + FEW), (known + FEW * all_) / (sampled + FEW))


@kernel
def weigh(frequencies: Any, total: Any, known: Any, sampled: Any, kinds: Any) -> Any:
    """Bits by which each wanted key, and each lookup key after them, helps to find who shares it, float64; none below 0."""
    bits = np.empty(len(frequencies))
    m = len(kinds)
    for i in range(len(frequencies)):
        kind = np.int64(kinds[i]) if i < m else len(sampled) - (1 if i == len(frequencies) - 1 else 2)
        if sampled[kind] > 0:
            chance = chance_of(frequencies[i], total, max(known[i] - 1, 0.0), sampled[kind])
        else:
            chance = (frequencies[i] + 0.5) / (total + FEW)
        floor = min(FLOOR_BITS, 0.4 * math.log2(total + sampled[kind] + 1))
        bits[i] = max(-math.log2(chance) - floor, 0.0)
    return bits


FEATURES = (
    "follows", "follows_rare", "follows_rare_share", "follows_common", "circle", "followers", "mentions", "links",
    "declared", "words", "words_share", "handle", "display_name", "name_parts", "avatar", "avatar_common", "hours", "gap",
    "language", "device", "address", "mail", "phone", "lead", "listed", "successor", "known",
    "banner", "habits",
)  # fmt: skip
"""What `compare` measures of a pair, one column each; NaN where either account lacks the evidence."""
KIND_OF = {
    **dict.fromkeys(("follows", "follows_rare", "follows_rare_share", "follows_common", "circle"), "follows"),
    **dict.fromkeys(("followers", "mentions"), "contacts"), "links": "links", "declared": "declared",
    **dict.fromkeys(("words", "words_share"), "words"),
    **dict.fromkeys(("handle", "display_name", "name_parts", "successor"), "name"),
    **dict.fromkeys(("avatar", "avatar_common"), "avatar"), "banner": "banner", "hours": "hours", "gap": "time",
    "language": "language", "device": "device", "address": "address", "mail": "mail", "phone": "phone",
    "habits": "style", **dict.fromkeys(("lead", "listed", "known"), "likeness"),
}  # fmt: skip
"""The kind of evidence that each of them is of."""
_SHARES = np.array([0.04, 0.1, 0.2, 0.35, 0.55, 0.8])


@kernel
def similarity(a: Any, b: Any) -> Any:
    """1 less the edit distance of two skeletons by the longer's length (optimal string alignment); NaN if one is empty."""
    na = nb = 0
    while na < len(a) and a[na] != 0:
        na += 1
    while nb < len(b) and b[nb] != 0:
        nb += 1
    if na == 0 or nb == 0:
        return np.float32(np.nan)
    before = np.empty(nb + 1, np.int32)
    row = np.empty(nb + 1, np.int32)
    new = np.empty(nb + 1, np.int32)
    for j in range(nb + 1):
        row[j] = before[j] = j
    for i in range(1, na + 1):
        new[0] = i
        for j in range(1, nb + 1):
            cost = 0 if a[i - 1] == b[j - 1] else 1
            value = min(row[j] + 1, new[j - 1] + 1, row[j - 1] + cost)
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                value = min(value, before[j - 2] + 1)
            new[j] = value
        before, row, new = row, new, before
    return np.float32(1 - row[nb] / max(na, nb))


@kernel
def log_gamma_ratio(x: Any, n: Any) -> Any:
    """log of Gamma(x + n) / Gamma(x)."""
    return math.lgamma(x + n) - math.lgamma(x)


@kernel
def hours_bits(new: Any, old: Any, usual: Any) -> Any:
    """How much better the old account's hours foretell the new one's than everybody's do, in bits.

    Both are Dirichlet-multinomial: `usual` (24, summing to 1) weighs 24 posts as everybody's prior; the old account's
    posts are added to it, but no more than 120 of them, for habits drift. NaN where one has fewer than 5 posts.
    """
    n = m = 0.0
    for h in range(24):
        n += new[h]
        m += old[h]
    if n < 5 or m < 5:
        return np.float32(np.nan)
    damp = min(1.0, 120.0 / m)
    total = 0.0
    for h in range(24):
        if new[h]:
            prior = 24.0 * usual[h] + 0.1
            total += log_gamma_ratio(prior + damp * old[h], new[h]) - log_gamma_ratio(prior, new[h])
    total += log_gamma_ratio(26.4, n) - log_gamma_ratio(26.4 + damp * m, n)
    return np.float32(total / math.log(2.0))


@kernel
def popcount(x: Any) -> Any:
    """Bits set in a uint64."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


(
    _FOLLOWS, _RARE, _RARE_SHARE, _COMMON, _CIRCLE, _FOLLOWERS, _MENTIONS, _LINKS, _DECLARED, _WORDS, _WORDS_SHARE, _HANDLE,
    _DISPLAY, _PARTS, _AVATAR, _AVATAR_COMMON, _HOURS, _GAP, _LANGUAGE, _DEVICE, _ADDRESS, _MAIL, _PHONE, LEAD, LISTED,
    _SUCCESSOR, _KNOWN, _BANNER, _HABITS,
) = range(len(FEATURES))  # fmt: skip
_SUMMED = np.array([
    (1, _FOLLOWERS), (2, _MENTIONS), (3, _LINKS), (4, _DECLARED), (5, _WORDS), (6, _PARTS),
    (7, _DEVICE), (8, _ADDRESS), (9, _MAIL), (10, _PHONE), (11, _BANNER),
    (12, _HABITS),
], np.int64)  # fmt: skip


@kernel
def compare(
    keys: Any,
    kinds: Any,
    frequencies: Any,
    counts: Any,
    looked: Any,
    looked_frequencies: Any,
    avatar: Any,
    handle: Any,
    name: Any,
    number: Any,
    hours: Any,
    language: Any,
    created: Any,
    places: Any,
    starts: Any,
    all_keys: Any,
    all_counts: Any,
    avatars: Any,
    handles: Any,
    names: Any,
    numbers: Any,
    all_hours: Any,
    languages: Any,
    ended: Any,
    members: Any,
    circle_sizes: Any,
    circle_starts: Any,
    circle_keys: Any,
    circle_counts: Any,
    circle_hours: Any,
    limits: Any,
    total: Any,
    kind_totals: Any,
    known: Any,
    looked_known: Any,
    sampled: Any,
    carried: Any,
    out: Any,
) -> Any:
    """Put what agrees between one new account and those at `places` into `out`, float32 (len(places), len(FEATURES)).

    `total` is how many suspended accounts there are, `kind_totals` how many keys of each kind they have together; `known`,
    `sampled` and `carried` say the same of the network (see `population.Usual`). What a shared key is worth depends on how many
    others have it: of all accounts, or of the old account's circle, whichever makes it more usual; the two themselves are left out.
    """
    m = len(keys)
    shared_bits = np.empty(len(counts), np.float64)
    shared = np.empty(len(counts), np.int64)
    expected_bits = np.empty(len(counts), np.float64)
    rare_limit = max(2e-5 * total, 1.0)
    rare_known = max(2e-4 * sampled[0], 3.0)
    rare_new = 0
    for i in range(m):
        if kinds[i] == 0 and frequencies[i] - 1 <= rare_limit and known[i] - 1 <= rare_known:
            rare_new += 1
    avatar_chance = 0.0
    for band in range(4):
        with_it = max(looked_frequencies[band] - 1, 0)
        chance = chance_of(with_it, total, max(looked_known[band] - 2, 0.0), sampled[len(counts)])
        avatar_chance = max(avatar_chance, chance)
    follows_each = (kind_totals[0] + carried[0] + 1) / (total + sampled[0])
    in_circle = np.zeros(m, np.int64)
    usual_circle = np.int64(-1)
    for c in range(len(places)):
        place = places[c]
        x = out[c]
        x[:] = np.nan
        circle = np.int64(members[place])
        size = max(circle_sizes[circle] - 1, 1) if circle else 1
        if circle != usual_circle:
            usual_circle = circle
            in_circle[:] = 0
            for i in range(m):
                end = circle_starts[circle + 1]
                low, high = circle_starts[circle], end
                while low < high:
                    middle = (low + high) >> 1
                    if circle_keys[middle] < keys[i]:
                        low = middle + 1
                    else:
                        high = middle
                if low < end and circle_keys[low] == keys[i]:
                    in_circle[i] = circle_counts[low]
        shared_bits[:] = 0
        shared[:] = 0
        expected_bits[:] = 0
        rare = common = 0
        common_expected = 0.0
        fitting = unfitting = 0
        ratio = np.zeros(len(_SHARES))
        followed = max(np.int64(all_counts[place, 0]), 1)
        j = end = starts[place]
        last_kind = -1
        for i in range(m):
            kind = kinds[i]
            while last_kind < kind:
                last_kind += 1
                j = end
                end = min(end + min(np.int64(all_counts[place, last_kind]), limits[last_kind]), starts[place + 1])
            while j < end and all_keys[j] < keys[i]:
                j += 1
            agrees = j < end and all_keys[j] == keys[i]
            others = frequencies[i] - 1 if agrees and frequencies[i] else frequencies[i]
            strangers = max(known[i] - (2 if agrees else 1), 0.0)
            everywhere = chance_of(others, total, strangers, sampled[kind])
            near = in_circle[i] - 1 if agrees and in_circle[i] else in_circle[i]
            chance = min(max(everywhere, near / size), 1.0)
            bits = -math.log2(chance)
            expected_bits[kind] += chance * bits
            if agrees:
                shared[kind] += 1
                shared_bits[kind] += bits
            if kind == 0:
                if others <= rare_limit and strangers <= rare_known:
                    rare += agrees
                else:
                    common += agrees
                    common_expected += chance
                    if not agrees:
                        if near / size > 4 * everywhere:
                            fitting += 1
                        elif everywhere < 0.002:
                            unfitting += 1
                if agrees:
                    for s in range(len(_SHARES)):
                        ratio[s] += math.log2(1 - _SHARES[s] + _SHARES[s] * follows_each / (followed * chance))
        x[_KNOWN] = counts[0]
        has = counts > 0
        old = all_counts[place]
        if has[0] and old[0] > 0:
            top = -1e30
            for s in range(len(_SHARES)):
                ratio[s] += (np.int64(counts[0]) - shared[0]) * math.log2(1 - _SHARES[s])
                top = max(top, ratio[s])
            mean = 0.0
            for s in range(len(_SHARES)):
                mean += 2.0 ** (ratio[s] - top)
            x[_FOLLOWS] = top + math.log2(mean / len(_SHARES))
            x[_RARE] = rare
            if rare_new:
                x[_RARE_SHARE] = rare / rare_new
            common_expected *= followed / follows_each
            x[_COMMON] = (common - common_expected) / math.sqrt(common_expected + 1)
            if circle and fitting + unfitting > 0:
                x[_CIRCLE] = (fitting + 0.5) / (fitting + unfitting + 1)
        for s in range(len(_SUMMED)):
            kind, column = _SUMMED[s]
            if has[kind] and old[kind] > 0:
                each = (kind_totals[kind] + carried[kind] + 1) / (total + sampled[kind] + 1)
                scale = min(old[kind] / each, 4.0)
                x[column] = shared_bits[kind] - (scale * expected_bits[kind] if kind < 7 or kind == 12 else 0.0)
        if has[5] and old[5] > 0:
            x[_WORDS_SHARE] = shared[5] / min(np.int64(counts[5]), np.int64(old[5]))
        x[_HANDLE] = similarity(handle, handles[place])
        x[_DISPLAY] = similarity(name, names[place])
        if looked[0] >= 0:
            distance = 0
            some = np.uint64(0)
            for word in range(4):
                some |= avatars[place, word]
                distance += popcount(avatar[word] ^ avatars[place, word])
            if some != 0:
                x[_AVATAR] = distance
                x[_AVATAR_COMMON] = -math.log2(avatar_chance)
        x[_HOURS] = hours_bits(hours, all_hours[place], circle_hours[circle])
        if created and ended[place]:
            x[_GAP] = (created - np.int64(ended[place])) / 86400.0
        if language and languages[place]:
            x[_LANGUAGE] = 1.0 if language == languages[place] else 0.0
        if x[_HANDLE] == 1 and number != numbers[place]:
            x[_SUCCESSOR] = np.int64(number) - np.int64(numbers[place])


@kernel
def keys_of_kind(starts: Any, keys: Any, kinds: Any, rows: Any, kind: Any) -> Any:
    """The keys of one kind of the accounts at `rows`: starts int64, keys uint32."""
    out_starts = np.zeros(len(rows) + 1, np.int64)
    for r in range(len(rows)):
        many = 0
        for j in range(starts[rows[r]], starts[rows[r] + 1]):
            many += kinds[j] == kind
        out_starts[r + 1] = out_starts[r] + many
    out = np.empty(out_starts[-1], np.uint32)
    at = 0
    for row in rows:
        for j in range(starts[row], starts[row + 1]):
            if kinds[j] == kind:
                out[at] = keys[j]
                at += 1
    return out_starts, out


PSEUDO = 8.0
"""A circle is taken to have had so many accounts like everybody before its first; it must earn its habits."""
JOIN_BITS = 8.0
"""An account belongs to a circle if it is 2**8 times likelier there than among everybody."""


@kernel
def cluster(starts: Any, terms: Any, order: Any, usual: Any, most: Any, least: Any, rounds: Any) -> Any:
    """Circles of the sampled accounts: how many in each have each term, and the sizes; circle 0 is everybody else.

    First each of some accounts joins the circle that explains it best or opens a new one; then circles that stayed small
    are dissolved and all accounts choose again, `rounds` times. `speaks` holds log2 of how much commoner a term is in a
    circle than among everybody, but for the circle's size, which is taken off at the end.
    """
    n = len(starts) - 1
    table = np.zeros((len(usual), most), np.float32)
    speaks = np.full((len(usual), most), np.float32(math.log2(PSEUDO)), np.float32)
    sizes = np.zeros(most, np.float32)
    scores = np.zeros(most, np.float32)
    circles = 0
    for turn in range(rounds + 1):
        fresh = np.zeros((len(usual), most), np.float32) if turn else table
        fresh_sizes = np.zeros(most, np.float32) if turn else sizes
        for row in order[: n if turn else min(n, 8000)]:
            mine = terms[starts[row] : starts[row + 1]]
            scores[:circles] = 0
            known = 0
            for term in mine:
                if term >= 0:
                    known += 1
                    for c in range(circles):
                        scores[c] += speaks[term, c]
            if known < 4:
                continue
            best, top = -1, JOIN_BITS
            for c in range(circles):
                score = scores[c] - known * math.log2(sizes[c] + PSEUDO)
                if score > top:
                    best, top = c, score
            if best < 0 and turn == 0 and circles < most:
                best = circles
                circles += 1
            if best >= 0:
                fresh_sizes[best] += 1
                for term in mine:
                    if term >= 0:
                        fresh[term, best] += 1
                        if turn == 0:
                            speaks[term, best] = math.log2(fresh[term, best] / usual[term] + PSEUDO)
        kept = 0
        limit = least if turn else 3
        for c in range(circles):
            if fresh_sizes[c] >= limit:
                fresh_sizes[kept] = fresh_sizes[c]
                fresh[:, kept] = fresh[:, c]
                kept += 1
        circles = kept
        table, sizes = fresh, fresh_sizes
        sizes[circles:] = 0
        for term in range(len(usual)):
            for c in range(circles):
                speaks[term, c] = math.log2(table[term, c] / usual[term] + PSEUDO)
    out = np.zeros((len(usual), circles + 1), np.float32)
    out[:, 1:] = table[:, :circles]
    out_sizes = np.zeros(circles + 1, np.float32)
    out_sizes[1:] = sizes[:circles]
    return out, out_sizes


@kernel
def circle_weights(table: Any, sizes: Any, usual: Any) -> Any:
    """Bits by which each term speaks for each circle, float32 (terms, circles); 0 for circle 0."""
    out = np.zeros(table.shape, np.float32)
    for term in range(table.shape[0]):
        for c in range(1, table.shape[1]):
            p = usual[term]
            out[term, c] = math.log2((table[term, c] + PSEUDO * p) / ((sizes[c] + PSEUDO) * p))
    return out


@kernel
def assign(starts: Any, keys: Any, kinds: Any, rows: Any, known: Any, directory: Any, weights: Any) -> Any:
    """The circle of each account at `rows`, uint16: the one that its follows speak for most, 0 where none is likely enough."""
    n = len(rows)
    circles = weights.shape[1]
    out = np.zeros(n, np.uint16)
    scores = np.zeros(circles, np.float32)
    for i in range(n):
        scores[:] = 0
        for j in range(starts[rows[i]], starts[rows[i] + 1]):
            if kinds[j] != 0:
                continue
            low = find_key(np.int64(keys[j]), directory, known)
            if low >= 0:
                for c in range(1, circles):
                    scores[c] += weights[low, c]
        top = JOIN_BITS
        for c in range(1, circles):
            if scores[c] > top:
                top = scores[c]
                out[i] = c
    return out


@kernel
def count_in_circles(starts: Any, keys: Any, ordered: Any, sizes: Any, least: Any) -> Any:
    """How many accounts of each circle have each key, where at least `least` do: starts, keys, counts. Circle 0: none.

    `ordered` are the accounts by circle.
    """
    circles = len(sizes)
    out_starts = np.zeros(circles + 1, np.int64)
    out_keys = np.empty(1024, np.uint32)
    out_counts = np.empty(1024, np.uint32)
    at = 0
    first = np.int64(0)
    for c in range(circles):
        if c:
            total = 0
            for r in range(first, first + sizes[c]):
                total += starts[ordered[r] + 1] - starts[ordered[r]]
            some = np.empty(total, np.uint32)
            filled = 0
            for r in range(first, first + sizes[c]):
                for j in range(starts[ordered[r]], starts[ordered[r] + 1]):
                    some[filled] = keys[j]
                    filled += 1
            some.sort()
            j = 0
            while j < total:
                end = j
                while end < total and some[end] == some[j]:
                    end += 1
                if end - j >= least:
                    if at == len(out_keys):
                        wider, more = np.empty(2 * at, np.uint32), np.empty(2 * at, np.uint32)
                        wider[:at], more[:at] = out_keys, out_counts
                        out_keys, out_counts = wider, more
                    out_keys[at], out_counts[at] = some[j], end - j
                    at += 1
                j = end
        first += sizes[c]
        out_starts[c + 1] = at
    return out_starts, out_keys[:at].copy(), out_counts[:at].copy()


@kernel
def best_votes(starts: Any, keys: Any, counts: Any, sizes: Any, frequencies: Any, total: Any) -> Any:
    """For each entry of the circles' tables, the bits by which its key speaks for its circle, float32."""
    out = np.empty(len(keys), np.float32)
    for c in range(len(sizes)):
        for j in range(starts[c], starts[c + 1]):
            out[j] = math.log2((counts[j] / max(sizes[c], 1)) / max(frequencies[j] / total, 1e-9))
    return out


@kernel
def vote(mine: Any, kinds: Any, keys: Any, circles: Any, bits: Any, scores: Any) -> Any:
    """The circle that an account's follows speak for most; 0 where fewer than three do, or too weakly."""
    scores[:] = 0
    many = 0
    for i in range(len(mine)):
        if kinds[i] != 0:
            continue
        low, high = 0, len(keys)
        while low < high:
            middle = (low + high) >> 1
            if keys[middle] < mine[i]:
                low = middle + 1
            else:
                high = middle
        if low < len(keys) and keys[low] == mine[i] and bits[low] > 2:
            scores[circles[low]] += bits[low]
            many += 1
    best = np.int64(np.argmax(scores))
    return best if many >= 3 and scores[best] > JOIN_BITS else np.int64(0)


@kernel
def gather_plain(
    keys: Any,
    kinds: Any,
    weights: Any,
    looked: Any,
    looked_weights: Any,
    count: Any,
    starts: Any,
    all_keys: Any,
    all_counts: Any,
    limits: Any,
    lookups: Any,
    dead: Any,
    ended: Any,
    created: Any,
    best: Any,
    scores: Any,
) -> Any:
    """As `gather`, over the first `count` accounts of a tail that has no postings: each is compared."""
    found = 0
    k = len(best)
    for doc in range(count):
        if dead[doc]:
            continue
        score = 0.0
        j = end = starts[doc]
        last_kind = -1
        for i in range(len(keys)):
            while last_kind < kinds[i]:
                last_kind += 1
                j = end
                end = min(end + min(np.int64(all_counts[doc, last_kind]), limits[last_kind]), starts[doc + 1])
            while j < end and all_keys[j] < keys[i]:
                j += 1
            if j < end and all_keys[j] == keys[i]:
                score += max(weights[i], 0.0)
        for i in range(LOOKUPS):
            if looked[i] >= 0 and looked[i] == lookups[doc, i]:
                score += max(looked_weights[i], 0.0)
        if score <= 0:
            continue
        score += time_bits(created, ended[doc])
        if found == k and score <= scores[k - 1]:
            continue
        place = found if found < k else k - 1
        found = min(found + 1, k)
        while place > 0 and scores[place - 1] < score:
            scores[place] = scores[place - 1]
            best[place] = best[place - 1]
            place -= 1
        scores[place] = score
        best[place] = doc
    return found


@kernel
def count_plain(
    keys: Any,
    kinds: Any,
    looked: Any,
    count: Any,
    starts: Any,
    all_keys: Any,
    all_counts: Any,
    limits: Any,
    lookups: Any,
    frequencies: Any,
) -> Any:
    """Add to `frequencies` how many of a tail's first `count` accounts have each key, and each lookup key after them."""
    for doc in range(count):
        j = end = starts[doc]
        last_kind = -1
        for i in range(len(keys)):
            while last_kind < kinds[i]:
                last_kind += 1
                j = end
                end = min(end + min(np.int64(all_counts[doc, last_kind]), limits[last_kind]), starts[doc + 1])
            while j < end and all_keys[j] < keys[i]:
                j += 1
            if j < end and all_keys[j] == keys[i]:
                frequencies[i] += 1
        for i in range(LOOKUPS):
            if looked[i] >= 0 and looked[i] == lookups[doc, i]:
                frequencies[len(keys) + i] += 1


@kernel
def bin_of(value: Any, edges: Any, many: Any) -> Any:
    """How many of the first `many` edges are at most `value`."""
    low, high = 0, many
    while low < high:
        middle = (low + high) >> 1
        if edges[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def bins_of(features: Any, which: Any, edges: Any, many: Any, offsets: Any) -> Any:
    """Where each pair's bits stand in a model's run of bits, int32 (m, terms); -1 for unknown."""
    m, terms = len(features), len(which)
    out = np.empty((m, terms), np.int32)
    for i in range(m):
        for t in range(terms):
            a = features[i, which[t, 0]]
            place = -1 if np.isnan(a) else bin_of(a, edges[t, 0], many[t, 0])
            if which[t, 1] >= 0 and place >= 0:
                b = features[i, which[t, 1]]
                place = -1 if np.isnan(b) else place * (many[t, 1] + 1) + bin_of(b, edges[t, 1], many[t, 1])
            out[i, t] = place + offsets[t] if place >= 0 else -1
    return out


@kernel
def term_bits(features: Any, which: Any, edges: Any, many: Any, offsets: Any, bits: Any) -> Any:
    """The bits of each term for each pair, float64 (m, terms)."""
    bins = bins_of(features, which, edges, many, offsets)
    out = np.zeros(bins.shape, np.float64)
    for i in range(bins.shape[0]):
        for t in range(bins.shape[1]):
            if bins[i, t] >= 0:
                out[i, t] = bits[bins[i, t]]
    return out


@kernel
def tree_bits(
    features: Any, roots: Any, which: Any, edges: Any, below: Any, above: Any, unknown: Any, leaves: Any
) -> Any:
    """What all trees together say of each pair, float64 (m,).

    A node asks feature `which`, float32: under its edge it goes to `below`, unknown to `unknown`, else to `above`. A
    number from 0 on is a node; -1, -2, … are leaves 0, 1, …
    """
    out = np.zeros(len(features), np.float64)
    for root in roots:
        for i in range(len(features)):
            node = root
            while node >= 0:
                x = features[i, which[node]]
                node = below[node] if x < edges[node] else above[node] if x >= edges[node] else unknown[node]
            out[i] += leaves[-1 - node]
    return out


@kernel
def tree_reasons(
    features: Any, roots: Any, which: Any, edges: Any, below: Any, above: Any, unknown: Any, leaves: Any, kinds: Any,
    shares: Any, out: Any,
) -> Any:  # fmt: skip
    """Add to `out`, float64 (m, kinds), what each kind of evidence says: its Shapley value where what is left out is unknown.

    `kinds` int64 gives the kind of each feature, `shares` float64 (k, k) the weight `(a - 1)! b! / (a + b)!` at [a, b].
    The two ways that a pair takes down a tree, with a kind known and with it left out, part only at nodes that ask of
    that kind; a leaf is reached by those coalitions that hold `inside` and nothing of `outside`, and their weights have a
    closed form (Lundberg et al., Nature Machine Intelligence 2, 2020, for one reference). Exact, and linear in the leaves.
    """
    nodes = np.empty(len(which) + 2, np.int64)
    insides, outsides = np.empty(len(nodes), np.int64), np.empty(len(nodes), np.int64)
    for i in range(len(features)):
        for root in roots:
            nodes[0], insides[0], outsides[0] = root, 0, 0
            filled = 1
            while filled:
                filled -= 1
                node, inside, outside = nodes[filled], insides[filled], outsides[filled]
                if node < 0:
                    a, b = np.int64(0), np.int64(0)
                    for kind in range(out.shape[1]):
                        a += (inside >> kind) & 1
                        b += (outside >> kind) & 1
                    value = leaves[-1 - node]
                    for kind in range(out.shape[1]):
                        if (inside >> kind) & 1:
                            out[i, kind] += value * shares[a, b]
                        elif (outside >> kind) & 1:
                            out[i, kind] -= value * shares[b, a]
                    continue
                x = features[i, which[node]]
                known = below[node] if x < edges[node] else above[node] if x >= edges[node] else unknown[node]
                kind = np.int64(1) << kinds[which[node]]
                if known == unknown[node] or outside & kind:
                    nodes[filled], insides[filled], outsides[filled] = unknown[node], inside, outside
                    filled += 1
                elif inside & kind:
                    nodes[filled], insides[filled], outsides[filled] = known, inside, outside
                    filled += 1
                else:
                    nodes[filled], insides[filled], outsides[filled] = known, inside | kind, outside
                    nodes[filled + 1], insides[filled + 1], outsides[filled + 1] = unknown[node], inside, outside | kind
                    filled += 2


@kernel
def boost(
    bins: Any,
    offsets: Any,
    labels: Any,
    weights: Any,
    rises: Any,
    rounds: Any,
    rate: Any,
    ridge: Any,
    bits: Any,
    prior: Any,
) -> Any:
    """Cyclic Newton boosting of an additive model: each round each term moves a little towards what its bins still miss.

    `bins` int32 (terms, n), -1 for unknown; `labels` and `weights` float64 (n,); `bits` float64, in nats, is changed in
    place. Returns the prior, in nats. After the manner of generalized additive models fitted by boosting (Lou, Caruana,
    Gehrke: Intelligible models for classification and regression, KDD 2012), with a ridge on each bin.
    """
    terms, n = bins.shape
    score = np.full(n, prior)
    for t in range(terms):
        for i in range(n):
            if bins[t, i] >= 0:
                score[i] += bits[bins[t, i]]
    gradient, curvature = np.zeros(len(bits)), np.zeros(len(bits))
    step = np.zeros(len(bits))
    for _ in range(rounds):
        g = h = 0.0
        for i in range(n):
            p = 1 / (1 + math.exp(-score[i]))
            g += weights[i] * (labels[i] - p)
            h += weights[i] * p * (1 - p)
        move = rate * g / (h + 1e-9)
        prior += move
        for i in range(n):
            score[i] += move
        for t in range(terms):
            a, b = offsets[t], offsets[t + 1]
            gradient[a:b] = 0
            curvature[a:b] = 0
            for i in range(n):
                place = bins[t, i]
                if place >= 0:
                    p = 1 / (1 + math.exp(-score[i]))
                    gradient[place] += weights[i] * (labels[i] - p)
                    curvature[place] += weights[i] * p * (1 - p)
            for j in range(a, b):
                new = bits[j] + rate * (gradient[j] - ridge[t] * bits[j]) / (curvature[j] + ridge[t])
                step[j] = new
            if rises[t] != 0:
                rise(step[a:b], curvature[a:b] + ridge[t], rises[t])
            for j in range(a, b):
                new = step[j]
                step[j] = new - bits[j]
                bits[j] = new
            for i in range(n):
                place = bins[t, i]
                if place >= 0:
                    score[i] += step[place]
    return prior


@kernel
def rise(values: Any, weights: Any, sign: Any) -> Any:
    """Make `values` rise (sign 1) or fall (-1), in place, by pooling adjacent violators (Ayer et al. 1955)."""
    n = len(values)
    means, masses, sizes = np.empty(n), np.empty(n), np.empty(n, np.int64)
    blocks = 0
    for i in range(n):
        means[blocks], masses[blocks], sizes[blocks] = sign * values[i], weights[i], 1
        blocks += 1
        while blocks > 1 and means[blocks - 2] >= means[blocks - 1]:
            mass = masses[blocks - 2] + masses[blocks - 1]
            means[blocks - 2] = (means[blocks - 2] * masses[blocks - 2] + means[blocks - 1] * masses[blocks - 1]) / mass
            masses[blocks - 2] = mass
            sizes[blocks - 2] += sizes[blocks - 1]
            blocks -= 1
    at = 0
    for block in range(blocks):
        for _ in range(sizes[block]):
            values[at] = sign * means[block]
            at += 1
