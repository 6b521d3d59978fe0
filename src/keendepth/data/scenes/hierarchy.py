"""Builds the bounding volume hierarchy of a scene: surface area heuristic over bins, as a numba kernel."""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from keendepth.data.scenes.casting import kernel

BINS = 12
LEAF = 2  # solids in a leaf; with the cost of a step and of a test about equal, 2-4 are the same speed


@kernel
@no_type_check
def _area(b):
    x, y, z = b[3] - b[0], b[4] - b[1], b[5] - b[2]
    return x * y + y * z + z * x


@kernel
@no_type_check
def _grow(b, low, high):
    for k in range(3):
        b[k] = min(b[k], low[k])
        b[3 + k] = max(b[3 + k], high[k])


@kernel
@no_type_check
def _clear(b):
    for k in range(3):
        b[k] = np.inf
        b[3 + k] = -np.inf


@kernel
@no_type_check
def _cut(low, high, order, first, last, span, boxes, counts):
    """The cheapest (axis, bin) to split solids first..last-1 at, or (-1, 0); span holds the bounds of their centres."""
    best, axis, at = np.inf, -1, 0
    tail = np.empty(BINS)
    side = np.empty(6)
    for k in range(3):
        width = span[3 + k] - span[k]
        if width <= 1e-9:
            continue
        counts[:] = 0
        for j in range(BINS):
            _clear(boxes[j])
        for p in range(first, last):
            i = order[p]
            j = min(BINS - 1, int(BINS * ((low[i, k] + high[i, k]) * 0.5 - span[k]) / width))
            counts[j] += 1
            _grow(boxes[j], low[i], high[i])
        _clear(side)
        number = 0
        for j in range(BINS - 1, 0, -1):
            number += counts[j]
            _grow(side, boxes[j, :3], boxes[j, 3:])
            tail[j] = number * _area(side) if number else 0.0
        _clear(side)
        number = 0
        for j in range(1, BINS):
            number += counts[j - 1]
            _grow(side, boxes[j - 1, :3], boxes[j - 1, 3:])
            if number and number < last - first:
                cost = number * _area(side) + tail[j]
                if cost < best:
                    best, axis, at = cost, k, j
    return axis, at


@kernel
@no_type_check
def _part(low, high, order, first, last, axis, edge):
    """Order solids first..last-1 so that those whose centre lies below `edge` come first; their end."""
    i, j = first, last - 1
    while i <= j:
        if (low[order[i], axis] + high[order[i], axis]) * 0.5 < edge:
            i += 1
        else:
            order[i], order[j] = order[j], order[i]
            j -= 1
    return i


@kernel
@no_type_check
def build(low, high):
    """(nodes [m 9], order [n]) over boxes low, high [n 3]; see `casting.World`. Left children follow their parents."""
    n = low.shape[0]
    order = np.arange(n)
    nodes = np.zeros((2 * n, 9))
    boxes, counts, span = np.empty((BINS, 6)), np.empty(BINS, np.int64), np.empty(6)
    todo = np.empty((2 * n + 2, 3), np.int64)  # first, last, the parent whose right child this is (-1: none)
    todo[0, 0], todo[0, 1], todo[0, 2] = 0, n, -1
    top, used = 1, 0
    while top > 0:
        top -= 1
        first, last, parent = todo[top, 0], todo[top, 1], todo[top, 2]
        node = used
        used += 1
        if parent >= 0:
            nodes[parent, 6] = node
        _clear(nodes[node])
        _clear(span)
        for p in range(first, last):
            i = order[p]
            _grow(nodes[node], low[i], high[i])
            for k in range(3):
                centre = (low[i, k] + high[i, k]) * 0.5
                span[k], span[3 + k] = min(span[k], centre), max(span[3 + k], centre)
        axis, at = (-1, 0) if last - first <= LEAF else _cut(low, high, order, first, last, span, boxes, counts)
        middle = first
        if axis >= 0:
            edge = span[axis] + (span[3 + axis] - span[axis]) * at / BINS
            middle = _part(low, high, order, first, last, axis, edge)
        if middle in (first, last):
            nodes[node, 6], nodes[node, 7] = first, last - first
            continue
        nodes[node, 8] = axis
        todo[top, 0], todo[top, 1], todo[top, 2] = middle, last, node
        todo[top + 1, 0], todo[top + 1, 1], todo[top + 1, 2] = first, middle, -1
        top += 2
    return nodes[:used].copy(), order
