"""The finish: random tries and an exact search over the few requests that prices leave open.

A pair whose net is more than (bound - value) short of its request's best is in no better
allocation, because what it loses at the prices is at least what the whole would lose. So tries need
no other pairs, an exact search over them finds the optimum, and where none are left, it is found
already.
"""

from aurora_batch.allocation import annealing, dual, exact, merging, pricing
from aurora_batch.allocation.core import Part, core_of, gap_of
from aurora_batch.allocation.meter import Meter
from aurora_batch.allocation.pricing import Market, Quotes
from kernels import repair
from kernels.repair import Plan

# A search is worth its start only where few pairs are open, and with a deadline a proof is likely
# only where fewer are.
MAX_PAIRS, PROOF_PAIRS = 6_000, 800
# Work that a search is counted as: its start, and a node for each open pair.
START_WORK = 500_000
NODE_WORK = 40
NODES = 5_000
# Parts of the gap that a pair may lose, one search each, and of the time left to search it.
SHARES = (0.15, 0.4, 1.0)
TIME_SHARE = {0.15: 0.03, 0.4: 0.06, 1.0: 0.28}
# When this share of the time is left, another search of all that is open, for this share of what is
# left, if by then the open pairs are fewer than this share of what they were.
LAST_AT, LAST_SHARE, LAST_PAIRS = 0.4, 0.5, 0.7
# The linear relaxation, about 5 ms that no clock ends, is solved for better prices in problems of
# at most so many pairs and with a deadline of at least so many seconds.
LP_PAIRS, LP_LEAST_S = 2_000, 0.1
# Among more pairs prices move together, to softness that is a part of a request's best value: ten
# milliseconds where an LP takes a second, for a bound that is as good as equal.
FINE = ((0.003, 30), (0.0003, 60), (0.0001, 60))
UNLIMITED_NODES = 1 << 30
# Work without gain, for each pair, after which random tries are given up, or begin again where only
# a deadline ends them.
PATIENCE = 2_500
PATIENCE_SHARE = 0.05  # of the work that is likely left, at most, where a deadline decides
# Random tries and annealings take turns until a deadline. Random tries have a share of the gap that
# one may lose: small steps search better, but where values are round, only a large one leads
# anywhere.
DROPS = (0.1, 0.4)
JUMP = 10  # how far to go from the best before random tries, in pairs


def tightened(market: Market, quotes: Quotes, meter: Meter) -> Quotes:
    """Prices that prove more, where a deadline leaves time: of the linear relaxation, or near."""
    if not meter.timed or (meter.deadline_s or 0.0) < LP_LEAST_S or meter.late():
        return quotes
    if market.rows.pool.size <= LP_PAIRS:
        prices = market.priceable(exact.lp_prices(market.rows, market.supply))
    else:
        prices = pricing.move_together(market, quotes.prices, meter, FINE)
    return min(quotes, pricing.quote(market, prices), key=lambda q: q.bound)


def shake(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int,
    drop: float = dual.DROP, jump: int = 0,
) -> Plan:  # fmt: skip
    """Return the best plan of random tries among the open requests, until they gain no more."""
    part = Part(market, quotes, plan)
    patience = float(PATIENCE * market.rows.pool.size)
    if meter.timed:
        patience = min(patience, PATIENCE_SHARE * meter.likely)
    if part.empty:
        return plan
    return part.better(
        dual.shake(
            part.market, quotes, part.start, meter, seed, patience, drop, jump, part.elsewhere
        ).choice
    )


def search_on(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int
) -> tuple[Plan, bool]:
    """Random tries and annealing in turn until the deadline, and an exact search on the way.

    Each begins from the best so far; in a small market, annealings begin anew and are merged.
    Returns the best, and whether nothing better exists.
    """
    last, pairs = LAST_AT * (meter.seconds_left() or 0.0), _open(market, quotes, plan)
    elite = merging.Elite(market, quotes, plan) if pairs <= merging.MOST_OPEN else None
    few, turn, searched = LAST_PAIRS * pairs, 0, False
    while not meter.done(repair.worth(market.rows, plan), quotes.bound):
        if elite:
            plan = elite.go_on(meter, seed + turn, turn)
        else:
            drop = DROPS[turn % len(DROPS)]
            plan = shake(market, quotes, plan, meter, seed + turn, drop, JUMP)
            way = annealing.WAYS[turn % len(annealing.WAYS)]
            plan = annealing.anneal(market, quotes, plan, meter, seed + turn, *way)
        turn += 1
        if not searched and (meter.seconds_left() or 0.0) < last:
            searched = True
            if _open(market, quotes, plan) <= few:
                plan, proven = _search(market, quotes, plan, 1.0, LAST_SHARE, meter)
                if proven:
                    return plan, True
                if elite:
                    elite.keep(plan)
    return plan, False


def _open(market: Market, quotes: Quotes, plan: Plan) -> int:
    """Pairs that a better plan may have and that are not decided."""
    core = core_of(market, quotes, gap_of(market, quotes, repair.worth(market.rows, plan)))
    return core.rows.pool.size


def search(market: Market, quotes: Quotes, plan: Plan, meter: Meter) -> tuple[Plan, bool]:
    """Return the best plan found, and whether nothing better exists.

    Searches among the pairs nearest to a tie first: what that gains leaves fewer for the proof.
    """
    for share in SHARES:
        plan, proven = _search(market, quotes, plan, share, TIME_SHARE[share], meter)
        if proven and share == 1.0:
            return plan, True
        if meter.done(repair.worth(market.rows, plan), quotes.bound):
            break
    return plan, False


def _search(
    market: Market, quotes: Quotes, plan: Plan, share: float, time_share: float, meter: Meter
) -> tuple[Plan, bool]:
    """Search the pairs that lose at most `share` of the gap."""
    value = repair.worth(market.rows, plan)
    core = core_of(market, quotes, share * gap_of(market, quotes, value))
    pairs = core.rows.pool.size
    nodes = int(min((meter.left - START_WORK) // (NODE_WORK * max(pairs, 1)), NODES))
    seconds = meter.seconds_left()
    if seconds is not None:
        seconds = seconds * (time_share if meter.timed else 1.0) - exact.SAFETY_S
    if meter.timed:
        nodes = UNLIMITED_NODES
    most = PROOF_PAIRS if meter.timed and share == 1.0 else MAX_PAIRS
    if pairs > most or nodes < 1:
        return plan, False
    found = None
    if seconds is None or seconds > 0:
        found = exact.best_choice(core.rows, core.supply, nodes, seconds)
    if found is None or (found.timed_out and not meter.timed):
        if not meter.timed:
            meter.strike()  # what a search finds by then depends on the machine: it ends before
        return plan, False
    meter.count(START_WORK + NODE_WORK * pairs * found.nodes)
    other = dual.plan_of(market, core.whole(found.choice), quotes)
    better = repair.worth(market.rows, other) > value
    return other if better else plan, found.proven
