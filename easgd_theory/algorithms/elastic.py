"""Elastic averaging: EASGD and its momentum variant EAMSGD."""

from dataclasses import dataclass

from easgd_theory.algorithm import Algorithm, Parameter
from easgd_theory.algorithms.sequential import MSGD, SGD


@dataclass(frozen=True, eq=False)
class EASGD(Algorithm):
    r"""Elastic Averaging SGD: each worker and the center pull each other by an elastic force.

    .. math::

        x^i &\leftarrow x^i - \eta g(x^i) - \alpha (x^i - \tilde x) \\
        \tilde x &\leftarrow \tilde x + \alpha \sum_{i\,\text{active}} (x^i - \tilde x)

    both with the *old* values: gradient and message are taken before the exchange moves anything. The other
    :math:`\tau - 1` steps of a visit are those of `SGD`.

    Parameters
    ----------
    eta : float or array
        Learning rate :math:`\eta`.
    alpha : float or array
        Moving rate :math:`\alpha = \eta\rho` of one exchange.

    Notes
    -----
    Round-robin: bounded for every p iff :math:`0 \le \eta h \le 2`, :math:`0 \le \alpha \le (4-2\eta h)/(4-\eta h)`.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: eqs. 5-6 (synchronous), 12-13 (round-robin), Algorithm 1.

    Examples
    --------
    >>> from easgd_theory import EASGD, RoundRobin, is_stable
    >>> is_stable(EASGD(eta=1.0, alpha=0.6), RoundRobin(p=3))
    True
    """

    eta: Parameter = None
    alpha: Parameter = None

    worker = ("x",)
    center = ("x",)
    reference = "Zhang, Choromanska, LeCun (2015), eqs. 5-6 and 12-13"

    @staticmethod
    def query(w, c, k):
        return w.x

    @staticmethod
    def visit(w, c, k, g):
        return (w.x - k.eta * g - k.alpha * (w.x - c.x),)

    local_query = SGD.local_query
    local = SGD.local

    @staticmethod
    def push_after(old, new, c, k):
        return k.alpha * (old.x - c.x)

    @staticmethod
    def absorb(c, total, k, count, p):
        return (c.x + total,)


@dataclass(frozen=True, eq=False)
class EAMSGD(Algorithm):
    r"""Elastic averaging with Nesterov momentum in the workers.

    .. math::

        v^i &\leftarrow \delta v^i - \eta g(x^i + \delta v^i) \\
        x^i &\leftarrow x^i + v^i - \alpha (x^i - \tilde x) \\
        \tilde x &\leftarrow \tilde x + \alpha \sum_{i\,\text{active}} (x^i - \tilde x)

    with the old :math:`x^i` and :math:`\tilde x` on the right; the elastic displacement does not enter
    :math:`v^i`. The other :math:`\tau - 1` steps of a visit are those of `MSGD`. :math:`\delta = 0` is EASGD.

    Parameters
    ----------
    eta, alpha : float or array
        Learning rate and moving rate, as in `EASGD`.
    delta : float or array
        Momentum :math:`\delta`, usually in [0, 1).

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: Algorithm 2.

    Examples
    --------
    >>> from easgd_theory import EAMSGD, RoundRobin, is_stable
    >>> is_stable(EAMSGD(eta=1.0, alpha=0.5, delta=0.99), RoundRobin(p=4))
    True
    """

    eta: Parameter = None
    alpha: Parameter = None
    delta: Parameter = None

    worker = ("x", "v")
    center = ("x",)
    reference = "Zhang, Choromanska, LeCun (2015), Algorithm 2"

    @staticmethod
    def query(w, c, k):
        return w.x + k.delta * w.v

    @staticmethod
    def visit(w, c, k, g):
        v = k.delta * w.v - k.eta * g
        return (w.x + v - k.alpha * (w.x - c.x), v)

    local_query = MSGD.local_query
    local = MSGD.local

    push_after = EASGD.push_after
    absorb = EASGD.absorb
