"""The simulator's loops, over one block of replicas; `compilation` fills in the rule and the objective.

A block keeps its variables as structures of arrays, the replicas ("lanes") innermost: element e of worker i stands for
a coordinate and a lane. Nothing here knows an algorithm: what a worker or the center does is done by the functions of a
definition on the scalars of one element, in the phases of `easgd_theory.visit`. Random numbers are drawn before a
window of rounds, by `windows.Source` or, in the most common case, at once. All of it runs as plain Python, too.
"""

from __future__ import annotations

from typing import NamedTuple

from simulations.arrays import LIMIT, U, beyond, copy, fetch, find, observe, place, put_back
from simulations.streams import fill_by_clock

MEET, MESSAGE, CENTER = 0, 1, 2  # the phases of a visit


class Draws(NamedTuple):
    """Where the normals lie: those of evaluation c in visit q start at ``q visit + (c & 1) odd + (c >> 1) pair``.

    The variates of one element are `variate` apart. Where the order of visits is drawn, q counts visits and c the
    evaluations of a visit; else q is the worker and c its clock less `origin`.
    """

    drawn: bool
    visit: int
    odd: int
    pair: int
    variate: int
    origin: int


def nothing(*_):
    """Stands where a rule has no value to give; never run then."""
    return 0.0


def stay(variables, *_):
    """Stands where a rule has no step to make; never run then."""
    return variables


# What `compilation` puts in: the rule's functions, the message of `easgd_theory.visit`, the objective's functions, and
# how an element of the arrays is read and written.
query = local_query = message = slope = gradient = term = loss = nothing
visit = local = absorb = stay
load_worker = load_center = load_parameters = size_of_worker = size_of_center = nothing
store_worker = store_center = stay
RULE = COUPLED = EVERYONE = SEPARABLE = None


def meet(workers, q, c, k, given, noise, z, y, scalars, sends):
    """One element's step that reads the center c; returns the message of a worker that has no more steps to make."""
    w = load_worker(workers, q)
    g = slope(query(w, c, k), given, noise[z], noise[y], scalars)
    after = store_worker(workers, q, visit(w, c, k, g))
    return message(RULE, k, w, after, c) if sends else 0.0


def meet_all(workers, center, first, count, k, given, noise, at, variate, scalars, sends, total):
    """The step of a group of workers that reads the center; the longer axis of the group is the inner loop."""
    entries = total.size
    if entries >= count:
        total[:] = 0.0
        for i in range(count):
            here, q, z = U(i * entries), U(first + i * entries), U(at + i * entries)
            y = z + U(variate)
            for e in range(entries):
                j = U(e)
                c = load_center(center, e)
                total[e] += meet(workers, q + j, c, k, given[here + j], noise, z + j, y + j, scalars, sends)
    else:
        for e in range(entries):
            sum_, z, c = 0.0, U(at + e), load_center(center, e)
            y = z + U(variate)
            for i in range(count):
                j = U(i) * U(entries)
                q = j + U(e)
                sum_ += meet(workers, q, c, k, given[q], noise, z + j, y + j, scalars, sends)
            total[e] = sum_


def step_all(workers, first, k, given, noise, at, variate, scalars):
    """A step that a group of workers makes without the center."""
    q, z = U(first), U(at)
    y = z + U(variate)
    for e in range(given.size):
        j = U(e)
        w = load_worker(workers, q + j)
        g = slope(local_query(w, k), given[e], noise[z + j], noise[y + j], scalars)
        store_worker(workers, q + j, local(w, k, g))


def ask_all(workers, center, first, points, k, sees):
    """Where the group's gradients are taken, for objectives whose coordinates depend on each other."""
    entries = center.shape[1]
    for i in range(points.size // entries):
        for e in range(entries):
            j = U(i * entries) + U(e)
            w = load_worker(workers, U(first) + j)
            points[j] = query(w, load_center(center, e), k) if sees else local_query(w, k)


def send_all(old, workers, center, first, k, total):
    """The sum of a group's messages; `old` holds the group alone."""
    total[:] = 0.0
    for i in range(old.shape[1] // total.size):
        here = U(i * total.size)
        for e in range(total.size):
            j = here + U(e)
            w = load_worker(workers, U(first) + j)
            total[e] += message(RULE, k, load_worker(old, j), w, load_center(center, e))


def take(center, total, others, count, p, k):
    """The center absorbs the sum of the group's messages, and of everyone else's if the rule gathers all."""
    for e in range(total.size):
        if EVERYONE:
            total[e] += others[e]
        store_center(center, e, absorb(load_center(center, e), total[e], k, count, p))


def exclude(anew, workers, group, begin, center, k, everyone, others):
    """The sum of everyone's messages but the visitor's; a running sum drifts, so once a round it is made anew.

    Only for rules whose message is a function of the worker alone (`compilation` sees to it).
    """
    if anew:
        send_all(workers, workers, center, 0, k, everyone)
    for e in range(others.size):
        w = load_worker(group, U(begin) + U(e))
        others[e] = everyone[e] - message(RULE, k, w, w, load_center(center, e))


def include(group, begin, center, k, everyone, others):
    """The reverse of `exclude`, once the visitor has stepped."""
    for e in range(others.size):
        w = load_worker(group, U(begin) + U(e))
        everyone[e] = others[e] + message(RULE, k, w, w, load_center(center, e))


def push(anew, old, workers, known, pulled, center, begin, p, k, total, others, everyone):
    """The center absorbs one worker's message, which was made from the center that the worker had pulled."""
    if EVERYONE:
        exclude(anew, known, known, begin, center, k, everyone, others)
    for e in range(total.size):
        q = U(begin) + U(e)
        w = load_worker(workers, q)
        total[e] = message(RULE, k, load_worker(old, q), w, load_center(pulled, q))
        store_worker(known, q, w)
    take(center, total, others, 1, p, k)
    if EVERYONE:
        include(known, begin, center, k, everyone, others)


def take_steps(
    group, center, begin, count, row, clock, at, sends, points, given, who, table, draws, noise, scalars, data, steps,
    total,
):  # fmt: skip
    """The worker's part of a visit: all its gradient steps, of which the first read the center."""
    with_center, alone = steps
    for s in range(with_center + alone):
        k = load_parameters(table, row + s * (table.shape[0] > 1))
        here = at + ((clock + s) & 1) * draws.odd + ((clock + s) >> 1) * draws.pair
        if COUPLED:
            ask_all(group, center, begin, points, k, s < with_center)
            gradient(points, given, noise[here:], draws.variate, who, data)
        if s < with_center:
            meet_all(group, center, begin, count, k, given, noise, here, draws.variate, scalars, sends, total)
        else:
            step_all(group, begin, k, given, noise, here, draws.variate, scalars)


def rounds(
    workers, center, old, scratch, total, others, everyone, points, given, who, where, order, rows, table, draws,
    noise, scalars, data, steps, phases, window, first, last, lost, iterate, record, seen,
):  # fmt: skip
    """Rounds first, ..., last - 1; returns `last`.

    Or it stops after a round at whose end another number of values than `lost` is beyond the limit, and returns minus
    that round.

    Parameters
    ----------
    workers, center : float arrays, shape (variables, elements)
        The state. `iterate` is a view of the center's x.
    old, scratch, total, others, everyone, points : float arrays
        Room: for the group of workers that acts together, for one worker, and for sums over workers.
    given : float array, shape (elements of the group,)
        The objective's coefficients; where they depend on the point they are found in the course of it.
    who, order : int arrays, shape (workers of the group, lanes) and (visits, lanes)
        Who acts; of visits one at a time, who makes them.
    where : int array, shape (elements of one worker,)
    rows : int array, shape (visits,)
        The row of `table` at a visit's first step, where the parameters vary with the clock.
    steps, phases
        As in `easgd_theory.visit`, the phases by number.
    window : int
        The first round of the random numbers, of `order` and of `rows`.
    record : float array, shape (rounds, columns, replicas)
    seen : arrays.Seen
    """
    count, entries = who.shape[0], total.size
    p, tau = workers.shape[1] // entries, steps[0] + steps[1]
    visits, alone = p // count, p > count
    at_once = tau == 1 and phases.size > 1 and phases[0] == MEET and phases[1] == MESSAGE
    scattered = draws.drawn and alone and who.shape[1] > 1  # each lane has another visitor
    group = scratch if scattered else workers
    for t in range(first, last):
        for i in range(visits):
            q = (t - window) * visits + i if draws.drawn else i
            row = rows[(t - window) * visits + i] if table.shape[0] > 1 else 0
            k = load_parameters(table, row)
            begin = 0 if scattered else (order[q, 0] if draws.drawn else i) * entries
            if scattered:
                find(order, q, where)
                fetch(workers, where, group)
            if alone and COUPLED:
                for r in range(who.shape[1]):
                    who[0, r] = order[q, r]
            if alone and EVERYONE:
                exclude(i == 0, workers, group, begin, center, k, everyone, others)
            if not at_once:
                copy(group, begin, old)
            for n in range(phases.size):
                if phases[n] == MEET:
                    clock = 0 if draws.drawn else (t - 1) * tau - draws.origin
                    take_steps(
                        group, center, begin, count, row, clock, q * draws.visit, at_once, points, given, who, table,
                        draws, noise, scalars, data, steps, total,
                    )  # fmt: skip
                elif phases[n] == CENTER:
                    take(center, total, others, count, p, k)
                elif not at_once:
                    send_all(old, group, center, begin, k, total)
            if alone and EVERYONE:
                include(group, begin, center, k, everyone, others)
            if scattered:
                put_back(group, where, workers)
        observe(t - seen.first, workers, iterate, record, seen)
        if beyond(workers) + beyond(center) != lost:
            return -t
    return last


def rounds_at_once(
    workers, center, total, others, given, table, noise, addresses, scalars, window, first, last, lost, iterate, record,
    seen,
):  # fmt: skip
    """The most common case of `rounds`: everyone together, of one step each, and the message right after it.

    It draws the noise itself, `window` rounds at a time, of the `streams.Addresses`; `noise` is the room for that.
    """
    k, p = load_parameters(table, 0), workers.shape[1] // total.size
    for low in range(first, last, window):
        high = min(low + window, last)
        origin, odd = fill_by_clock(noise, low - 1, high - 1, addresses)
        for t in range(low, high):
            clock = t - 1 - origin
            at = (clock & 1) * odd + (clock >> 1) * addresses.draws
            meet_all(workers, center, 0, p, k, given, noise, at, addresses.variate, scalars, True, total)
            take(center, total, others, p, p, k)
            observe(t - seen.first, workers, iterate, record, seen)
            if beyond(workers) + beyond(center) != lost:
                return -t
    return last


def rounds_of_one(
    workers, center, given, table, noise, addresses, scalars, window, first, last, lost, iterate, record, seen,
):  # fmt: skip
    """The case of `rounds_at_once` with one element only, a loss that has a term, and no record of the workers.

    The center stays in a register. Here even a call of `observe` would take longer than what it does, and the loss is
    written in passing.
    """
    k, p, c, x = load_parameters(table, 0), workers.shape[1], load_center(center, 0), workers[seen.x]
    for low in range(first, last, window):
        high = min(low + window, last)
        origin, odd = fill_by_clock(noise, low - 1, high - 1, addresses)
        for t in range(low, high):
            clock = t - 1 - origin
            total, size, z = 0.0, 0.0, U((clock & 1) * odd + (clock >> 1) * addresses.draws)
            y = z + U(addresses.variate)
            for i in range(p):
                j = U(i)
                total += meet(workers, j, c, k, given[j], noise, z + j, y + j, scalars, True)
                size += size_of_worker(workers, j)
            c = store_center(center, 0, absorb(c, total, k, p, p))
            row = U(t - seen.first)
            record[row, 0, seen.lane] = c.x
            if seen.loss >= 0:
                record[row, seen.loss, seen.lane] = term(c.x, given[0])
            if seen.mean >= 0 or seen.spread >= 0:
                sum_, squares, e = 0.0, 0.0, iterate[0]
                for i in range(p):
                    sum_ += x[U(i)]
                    squares += (x[U(i)] - e) ** 2
                if seen.mean >= 0:
                    record[row, seen.mean, seen.lane] = sum_ / p
                if seen.spread >= 0:
                    record[row, seen.spread, seen.lane] = squares / p
            # No variable is beyond the limit where the sum of all is not; to count each time takes a third of the time.
            if not size + size_of_center(center, 0) <= LIMIT and beyond(workers) + beyond(center) != lost:
                return -t
    return last


def split_rounds(
    workers, center, known, pulled, total, others, everyone, points, given, who, order, rows, table, draws, noise,
    scalars, data, steps, phases, slots, window, first, last, lost, iterate, record, seen,
):  # fmt: skip
    """The rounds of a split exchange, of one replica: pulls and pushes in the order given; returns what `rounds` does.

    Parameters
    ----------
    known : float array, shape (variables, elements of all workers)
        Every worker as it was at its last push.
    pulled : float array, shape (variables of the center, elements of all workers)
        The center as every worker has pulled it last.
    order, rows : int arrays, shape (events, 1) and (events,)
        Whose pull or push it is; the row of `table` at the first step of its visit.
    slots : int array, shape (events,)
        Of a pull its place among all pulls, which finds its random numbers; -1 marks a push.
    """
    entries = total.size
    p = workers.shape[1] // entries
    old = workers if phases[0] == MESSAGE else known
    for t in range(first, last):
        anew = True
        for i in range(2 * p):
            q = (t - window) * 2 * p + i
            row, begin = rows[q] if table.shape[0] > 1 else 0, order[q, 0] * entries
            if slots[q] < 0:
                k = load_parameters(table, row)
                push(anew, old, workers, known, pulled, center, begin, p, k, total, others, everyone)
                anew = False
                continue
            if COUPLED:
                who[0, 0] = order[q, 0]
            place(center, begin, pulled)
            take_steps(
                workers, center, begin, 1, row, 0, slots[q] * draws.visit, False, points, given, who, table, draws,
                noise, scalars, data, steps, total,
            )  # fmt: skip
        observe(t - seen.first, workers, iterate, record, seen)
        if beyond(workers) + beyond(center) != lost:
            return -t
    return last


def losses(points, out, coefficients, data):
    """The objective at points of shape (rounds, coordinates, replicas); `out` has the shape (rounds, replicas)."""
    if SEPARABLE:
        out[:] = 0.0
        for t in range(points.shape[0]):
            for j in range(points.shape[1]):
                for r in range(points.shape[2]):
                    out[t, r] += term(points[t, j, r], coefficients[j])
    else:
        loss(points, out, data)
