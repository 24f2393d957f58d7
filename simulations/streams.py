"""Random numbers as a function of where they are used: every draw of every worker of every replica has an address.

The generator is Threefry-2x64 with the 20 rounds that its authors recommend; it passes BigCrush (Salmon, Moraes, Dror,
Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11). For each key it is a bijection of 128-bit counters, without
a state. The key is (seed, purpose) and the counter (block, stream), where a stream belongs to one worker of one
replica; two draws with different addresses come from different counters, so that streams cannot overlap, and no draw
depends on the number of threads or on what was drawn before. The two words of a block serve the worker's gradient
evaluations 2b and 2b + 1.

Normals are made by the ziggurat with 1024 layers (Marsaglia, Tsang 2000) with disjoint bits for layer and position
(Doornik 2005), gammas by Marsaglia and Tsang (2000), "A simple method for generating gamma variables".
"""

from __future__ import annotations

from math import cos, erfc, exp, log, pi, sqrt
from typing import NamedTuple

import numpy as np
from numba import njit

# Purposes: gradient noise, who visits, how long a gradient step and a trip take.
NOISE, ORDER, COMPUTE, COMMUNICATION = (np.uint64(n) for n in range(4))
WORKER_BITS = 24  # of a stream's 64; the replica has the others

_compiled = njit(cache=True, nogil=True, error_model="numpy")
_CHUNK = 1024  # draws made at a time: their bits stay in the nearest cache
_TILE = 1024  # addresses of draws that are laid out at least
_ATTEMPT = np.uint64(54)  # the bits of a block's address above count the further draws of a rejection method
_GAMMA_ATTEMPTS = 256  # the first of them that is a gamma's

_PARITY = np.uint64(0x1BD11BDAA9FC1A22)
_1, _2, _3, _4, _5, _11, _32, _64 = (np.uint64(n) for n in (1, 2, 3, 4, 5, 11, 32, 64))
_EVEN = tuple(np.uint64(n) for n in (16, 42, 12, 31))
_ODD = tuple(np.uint64(n) for n in (16, 32, 24, 21))
_LAYER = np.uint64(1023)
_TAIL = 4.0388498461095045  # where the tail starts so that 1024 layers of equal area close


def _ziggurat() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths of the layers per unit of the 53-bit position, the positions that surely lie inside, and the density."""
    start = _TAIL
    area = start * exp(-0.5 * start**2) + sqrt(pi / 2) * erfc(start / sqrt(2))
    edges = [area / exp(-0.5 * start**2), start]
    while len(edges) < 1024:
        edges.append(sqrt(-2 * log(exp(-0.5 * edges[-1] ** 2) + area / edges[-1])))
    edge = np.array([*edges, 0.0])
    return edge[:-1] / 2.0**53, np.floor(edge[1:] / edge[:-1] * 2.0**53).astype(np.int64), np.exp(-0.5 * edge**2)


_WIDTH, _INSIDE, _DENSITY = _ziggurat()


@_compiled
def _four_rounds(x, y, rotations):
    for n in rotations:
        x += y
        y = ((y << n) | (y >> (_64 - n))) ^ x
    return x, y


@_compiled
def threefry(key0, key1, x, y):
    """Threefry-2x64-20 of the counter (x, y) under the key: two words; all arguments are uint64."""
    key2 = _PARITY ^ key0 ^ key1
    x, y = _four_rounds(x + key0, y + key1, _EVEN)
    x, y = _four_rounds(x + key1, y + key2 + _1, _ODD)
    x, y = _four_rounds(x + key2, y + key0 + _2, _EVEN)
    x, y = _four_rounds(x + key0, y + key1 + _3, _ODD)
    x, y = _four_rounds(x + key1, y + key2 + _4, _EVEN)
    return x + key2, y + key0 + _5


@_compiled
def stream_of(replica, worker):
    """The stream of one worker of one replica."""
    return (np.uint64(replica) << np.uint64(WORKER_BITS)) | np.uint64(worker)


@_compiled
def uniform(bits):
    """In (0, 1), from 53 bits."""
    return (np.float64(bits >> _11) + 0.5) * 2.0**-53


@_compiled
def _further(seed, purpose, block, stream, odd, attempt):
    """Two words of the rejection methods' own, for one draw."""
    return threefry(seed, purpose, block + (np.uint64(2 * attempt + odd) << _ATTEMPT), stream)


@_compiled
def _careful_normal(bits, seed, purpose, block, stream, odd):
    """The normal of an address and its word of bits, by all of the ziggurat."""
    for attempt in range(1, _GAMMA_ATTEMPTS):
        layer = bits & _LAYER
        position = np.int64(bits) >> 10
        x = position * _WIDTH[layer]
        if abs(position) < _INSIDE[layer]:
            return x
        first, second = _further(seed, purpose, block, stream, odd, attempt)
        if layer == 0:
            x = -log(uniform(first)) / _TAIL
            if -2.0 * log(uniform(second)) > x * x:
                return _TAIL + x if position > 0 else -_TAIL - x
        else:
            low, high = _DENSITY[layer], _DENSITY[layer + _1]
            if low + uniform(first) * (high - low) < exp(-0.5 * x * x):
                return x
            bits = second
    return 0.0


@_compiled
def _gamma(shape, normal, seed, block, stream, odd):
    """A gamma variate of unit scale, from the address's normal and further draws."""
    boosted = shape if shape >= 1.0 else shape + 1.0
    d = boosted - 1.0 / 3.0
    c = 1.0 / sqrt(9.0 * d)
    for attempt in range(_GAMMA_ATTEMPTS, 2 * _GAMMA_ATTEMPTS, 2):
        first, second = _further(seed, NOISE, block, stream, odd, attempt)
        v = (1.0 + c * normal) ** 3
        if v > 0.0 and log(uniform(first)) < 0.5 * normal * normal + d * (1.0 - v + log(v)):
            x = d * v
            return x if shape >= 1.0 else x * uniform(second) ** (1.0 / shape)
        first, second = _further(seed, NOISE, block, stream, odd, attempt + 1)
        normal = sqrt(-2.0 * log(uniform(first))) * cos(2.0 * pi * uniform(second))  # Box and Muller's, for once
    return shape


@_compiled
def _quick_normals(bits, out):
    """All but one in 230 lie surely inside their layer; nan stands for the others, so that the loop has no branch."""
    for e in range(bits.size):
        layer = bits[e] & _LAYER
        position = np.int64(bits[e]) >> 10
        out[e] = position * _WIDTH[layer] if abs(position) < _INSIDE[layer] else np.nan


@_compiled
def _finish(out, bits, seed, block, stream, odd):
    """Put in what `_quick_normals` left open; eight at a time are asked whether there is any."""
    eights = out[: out.size // 8 * 8].reshape(out.size // 8, 8)
    for q in range(eights.shape[0]):
        v = eights[q]
        total = ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))
        if total != total:
            _finish_each(out, bits, seed, block, stream, odd, 8 * q, 8 * q + 8)
    _finish_each(out, bits, seed, block, stream, odd, eights.size, out.size)


@_compiled
def _finish_each(out, bits, seed, block, stream, odd, first, last):
    for e in range(first, last):
        if out[e] != out[e]:
            out[e] = _careful_normal(bits[e], seed, NOISE, block[e], stream[e], odd)


@_compiled
def _into_gammas(out, shape, seed, block, stream, odd):
    """Turn the normals into gamma variates where a shape is given."""
    for e in range(shape.size):
        if shape[e] > 0.0:
            out[e] = _gamma(shape[e], out[e], seed, block[e], stream[e], odd)


@_compiled
def lay_out(shapes, pairs, p, coordinates, replicas):
    """Addresses of the draws of some pairs of evaluations, relative to the first, as `fill_in_pairs` takes them."""
    size = pairs * shapes.size * p * coordinates * replicas
    block, stream = np.empty(size, np.uint64), np.empty(size, np.uint64)
    shape = np.empty(size if shapes.any() else 0)
    e = 0
    for variate in range(pairs * shapes.size):
        for i in range(p):
            for j in range(coordinates):
                for r in range(replicas):
                    block[e] = np.uint64(variate * coordinates + j)
                    stream[e] = stream_of(r, i)
                    if shape.size:
                        shape[e] = shapes[variate % shapes.size]
                    e += 1
    return block, stream, shape


@_compiled
def fill_in_pairs(out, block, stream, shape, blocks, first_block, first_stream, seed):
    """Draws of consecutive evaluations: those of even number in the first half of `out`, of odd in the second.

    Parameters
    ----------
    out : float array
        A whole number of evaluations, an even one.
    block, stream : uint64 array
        Addresses relative to the first; they repeat along each half, the blocks increased by `blocks` each time.
    shape : float array
        Where positive, the shape of the gamma variate wanted in place of a normal; empty: normals all.
    """
    half, tile = out.size // 2, block.size
    even, odd = np.empty(min(tile, _CHUNK), np.uint64), np.empty(min(tile, _CHUNK), np.uint64)
    done = 0
    while done < half:
        for low in range(0, tile, _CHUNK):
            size = min(_CHUNK, tile - low, half - done)
            here, there = block[low : low + size] + first_block, stream[low : low + size] + first_stream
            for e in range(size):
                even[e], odd[e] = threefry(seed, NOISE, here[e], there[e])
            _quick_normals(even[:size], out[done : done + size])
            _quick_normals(odd[:size], out[half + done : half + done + size])
            _finish(out[done : done + size], even, seed, here, there, 0)
            _finish(out[half + done : half + done + size], odd, seed, here, there, 1)
            _into_gammas(out[done : done + size], shape[low : low + size], seed, here, there, 0)
            _into_gammas(out[half + done : half + done + size], shape[low : low + size], seed, here, there, 1)
            done += max(size, 0)
        first_block += blocks


class Addresses(NamedTuple):
    """Where the draws of a block of replicas are, of evaluations that all its workers make at the same clocks.

    Those of some pairs of evaluations as `lay_out` has them, relative to the first; draws in one evaluation, how far
    two variates of an element are apart among them (0 where there is one only), and blocks that a pair takes of each
    stream; the first stream; the seed. Nothing is drawn where there are none.
    """

    block: np.ndarray
    stream: np.ndarray
    shape: np.ndarray
    draws: int
    variate: int
    pair: int
    first: np.uint64
    seed: np.uint64


def addresses_of(shapes: np.ndarray, p: int, coordinates: int, lanes: int, first: int, seed: int) -> Addresses:
    """The addresses of the draws of these `shapes`, as in `fill_by_visit`, of `lanes` replicas from `first` on."""
    elements = p * coordinates * lanes
    draws, variate = shapes.size * elements, elements if shapes.size > 1 else 0
    block, stream, shape = lay_out(shapes, -(-_TILE // draws) if draws else 0, p, coordinates, lanes)
    place = (draws, variate, shapes.size * coordinates, np.uint64(first << WORKER_BITS), np.uint64(seed))
    return Addresses(block, stream, shape, *place)


@_compiled
def fill_by_clock(out, start, end, addresses):
    """Draws of the evaluations start, ..., end - 1.

    Returns the number of the first one in `out`, which is even, and where there those of odd number begin.
    """
    block, stream, shape, draws, _, pair, first, seed = addresses
    origin = start - start % 2
    half = (end - origin + 1) // 2 * draws
    if draws:
        blocks = np.uint64(block.size // draws * pair)
        fill_in_pairs(out[: 2 * half], block, stream, shape, blocks, np.uint64(origin // 2 * pair), first, seed)
    return origin, half


@_compiled
def draw_order(order, clocks, evaluations, seed, first_tick, first_replica, p, tau):
    """Who visits: a worker of p, uniformly, at each tick of each replica.

    Parameters
    ----------
    order, evaluations : int array, shape (ticks, replicas)
        Filled with the worker and the number of its first evaluation; p / 2^32 bounds the deviation from uniformity.
    clocks : int array, shape (p, replicas)
        Evaluations that each worker has made; brought up to date.
    """
    for tick in range(order.shape[0]):
        for r in range(order.shape[1]):
            bits, _ = threefry(seed, ORDER, np.uint64(first_tick + tick), stream_of(first_replica + r, 0))
            worker = np.int64(((bits >> _32) * np.uint64(p)) >> _32)
            order[tick, r] = worker
            evaluations[tick, r] = clocks[worker, r]
            clocks[worker, r] += tau


@_compiled
def words_at(number, stream, seed, purpose, bits):
    """A word of bits for each pair of a stream and a number, the two words of a block serving numbers 2b and 2b + 1."""
    for e in range(bits.size):
        first, second = threefry(seed, purpose, number[e] >> _1, stream[e])
        bits[e] = second if number[e] & _1 else first


@_compiled
def normals_of(bits, number, stream, seed, purpose, out):
    """The normals of these words, one for each."""
    _quick_normals(bits, out)
    for e in range(bits.size):
        if out[e] != out[e]:
            out[e] = _careful_normal(bits[e], seed, purpose, number[e] >> _1, stream[e], np.int64(number[e] & _1))


@_compiled
def fill_by_visit(out, order, evaluations, shapes, coordinates, tau, first_replica, seed):
    """Draws of visits in the order given; `out` has the shape (ticks, tau, variates, coordinates, replicas), flat.

    Parameters
    ----------
    shapes : float array, shape (variates,)
        Of the variates that one coordinate of an evaluation takes: a gamma's shape, or 0 for a normal.
    """
    ticks, replicas = order.shape
    blocks = shapes.size * coordinates  # of two evaluations
    size = tau * blocks * replicas
    together = max(1, _CHUNK // size)
    number, stream = np.empty(together * size, np.uint64), np.empty(together * size, np.uint64)
    bits = np.empty(together * size, np.uint64)
    for low in range(0, ticks, together):
        e = 0
        for tick in range(low, min(low + together, ticks)):
            for step in range(tau):
                for variate in range(blocks):
                    for r in range(replicas):
                        evaluation = evaluations[tick, r] + step
                        number[e] = np.uint64(2 * ((evaluation >> 1) * blocks + variate) + (evaluation & 1))
                        stream[e] = stream_of(first_replica + r, order[tick, r])
                        e += 1
        words_at(number[:e], stream[:e], seed, NOISE, bits[:e])
        part = out[low * size : low * size + e]
        normals_of(bits[:e], number, stream, seed, NOISE, part)
        for e in range(part.size if shapes.any() else 0):
            shape = shapes[e // (coordinates * replicas) % shapes.size]
            if shape > 0.0:
                part[e] = _gamma(shape, part[e], seed, number[e] >> _1, stream[e], np.int64(number[e] & _1))
