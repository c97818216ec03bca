"""Loops of a function's machine code, found in its flow of control.

Addresses alone mislead: compilers put rare parts of a loop behind the function's end, from where a
branch leads back, and a backward branch between two such parts is no loop.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise
from typing import Protocol


class Step(Protocol):
    """What is asked of an instruction."""

    @property
    def address(self) -> int: ...
    @property
    def target(self) -> int | None:
        """Where a branch goes, if it says so."""

    @property
    def goes_on(self) -> bool:
        """Whether the next instruction may follow."""


Edges = dict[int, list[int]]


def outermost(code: Collection[Step]) -> list[set[int]]:
    """The addresses of each loop that is in no other: instructions that all reach each other."""
    edges = _edges(code)
    return sorted(_cycles(list(edges), edges), key=min)


def innermost(code: Collection[Step]) -> list[set[int]]:
    """The addresses of each loop without a loop in it, first loop first.

    Without the branches back to where a loop is entered, the loops within it are left.
    """
    edges = _edges(code)
    found = []
    work = [(component, edges) for component in _cycles(list(edges), edges)]
    while work:
        loop, within = work.pop()
        inner = _without_returns(loop, edges, within)
        parts = _cycles(sorted(loop), inner)
        work += [(part, inner) for part in parts]
        if not parts:
            found.append(loop)
    return sorted(found, key=min)


def _edges(code: Collection[Step]) -> Edges:
    addresses = [i.address for i in code]
    inside = set(addresses)
    following = dict(pairwise(addresses))
    edges: Edges = {}
    for i in code:
        to = [i.target] if i.target in inside else []
        if i.goes_on and i.address in following:
            to.append(following[i.address])
        edges[i.address] = [address for address in to if address is not None]
    return edges


def _without_returns(loop: set[int], edges: Edges, within: Edges) -> Edges:
    """The edges of a loop less those to its entry; of several, to the first by address."""
    entered = {to for at, ends in edges.items() if at not in loop for to in ends if to in loop}
    head = min(entered or loop)
    return {at: [to for to in within[at] if to in loop and to != head] for at in loop}


def _cycles(nodes: list[int], edges: Edges) -> list[set[int]]:
    """The strongly connected components that have an edge (Tarjan 1972, not recursive)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    path: list[int] = []
    on_path: set[int] = set()
    found = []
    for root in nodes:
        if root in order:
            continue
        work = [(root, iter(edges[root]))]
        order[root] = low[root] = len(order)
        path.append(root)
        on_path.add(root)
        while work:
            at, ends = work[-1]
            for to in ends:
                if to not in order:
                    order[to] = low[to] = len(order)
                    path.append(to)
                    on_path.add(to)
                    work.append((to, iter(edges[to])))
                    break
                if to in on_path:
                    low[at] = min(low[at], order[to])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[at])
                if low[at] == order[at]:
                    place = path.index(at)
                    component = set(path[place:])
                    del path[place:]
                    on_path -= component
                    if len(component) > 1 or at in edges[at]:
                        found.append(component)
    return found
