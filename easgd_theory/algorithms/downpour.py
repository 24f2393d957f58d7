"""DOWNPOUR and its momentum variant: push what was gathered, pull the center, step."""

from dataclasses import dataclass
from typing import ClassVar

from easgd_theory.algorithm import Algorithm, Parameter


class PushThenPull(Algorithm):
    r"""What DOWNPOUR, Local SGD, DiLoCo and Lookahead have in common: all but how the center absorbs.

    On arrival a worker hands over :math:`v`, its displacement since the last visit; the center absorbs it; the worker
    pulls the new center, :math:`x \leftarrow \tilde x`, :math:`v \leftarrow 0`, and takes :math:`\tau` gradient steps
    :math:`x \leftarrow x - \eta g(x)`, :math:`v \leftarrow v - \eta g(x)`.
    """

    worker = ("x", "v")
    center: ClassVar[tuple[str, ...]] = ("x",)

    @staticmethod
    def query(w, c, k):
        return c.x

    @staticmethod
    def visit(w, c, k, g):
        return (c.x - k.eta * g, -k.eta * g)

    @staticmethod
    def local_query(w, k):
        return w.x

    @staticmethod
    def local(w, k, g):
        return (w.x - k.eta * g, w.v - k.eta * g)

    @staticmethod
    def push_before(w, c, k):
        return w.v


@dataclass(frozen=True, eq=False)
class DOWNPOUR(PushThenPull):
    r"""DOWNPOUR SGD: the center adds up the displacements that the workers push.

    .. math::

        \tilde x \leftarrow \tilde x + v^i, \qquad x^i \leftarrow \tilde x, \qquad v^i \leftarrow 0,

    then :math:`\tau` steps :math:`x^i \leftarrow x^i - \eta g(x^i)`, :math:`v^i \leftarrow v^i - \eta g(x^i)` with one
    and the same gradient. (Read to the letter, the paper's Algorithm 3 takes a second gradient at the moved
    :math:`x^i`; here :math:`v^i` is the displacement.) In the synchronous scheme the p pushes are summed, so that
    DOWNPOUR acts with the learning rate :math:`p\eta`.

    Parameters
    ----------
    eta : float or array
        Learning rate :math:`\eta`.

    References
    ----------
    Dean et al. (2012); Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: Algorithm 3.

    Examples
    --------
    >>> from easgd_theory import DOWNPOUR, RoundRobin, critical_value
    >>> round(critical_value("eta", DOWNPOUR(), RoundRobin(p=16)), 6)
    0.101298
    """

    eta: Parameter = None

    reference = "Dean et al. (2012); Zhang, Choromanska, LeCun (2015), Algorithm 3"

    @staticmethod
    def absorb(c, total, k, count, p):
        return (c.x + total,)


@dataclass(frozen=True, eq=False)
class MDOWNPOUR(Algorithm):
    r"""DOWNPOUR with momentum at the master: a worker sends the gradient at the center it pulled last.

    .. math::

        \tilde v \leftarrow \delta \tilde v - \eta g, \qquad \tilde x \leftarrow \tilde x + \delta \tilde v

    as printed, which is heavy-ball momentum with the rate :math:`\delta\eta`. With ``nesterov=True`` the master adds
    :math:`-\eta g` to :math:`\tilde x` as well: at p = 1 the center then is the look-ahead sequence
    :math:`x + \delta v` of `MSGD`. In the synchronous scheme g is the sum of the workers' gradients.

    Parameters
    ----------
    eta : float or array
        Learning rate :math:`\eta`.
    delta : float or array
        Momentum :math:`\delta`.
    nesterov : bool
        Take Nesterov's look-ahead form in place of the printed one.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: Algorithms 4 and 5.

    Examples
    --------
    >>> from easgd_theory import MDOWNPOUR, RoundRobin, critical_value
    >>> round(critical_value("eta", MDOWNPOUR(delta=0.9), RoundRobin(p=2)), 6)
    0.111111
    """

    eta: Parameter = None
    delta: Parameter = None
    nesterov: bool = False

    worker = ("x", "g")
    center = ("x", "v")
    requires_one = {"tau": "its workers send every gradient (Algorithms 4 and 5)"}
    reference = "Zhang, Choromanska, LeCun (2015), Algorithms 4 and 5"

    @staticmethod
    def query(w, c, k):
        return c.x

    @staticmethod
    def visit(w, c, k, g):
        return (c.x, g)

    @staticmethod
    def push_before(w, c, k):
        return w.g

    @staticmethod
    def absorb(c, total, k, count, p):
        v = k.delta * c.v - k.eta * total
        return (c.x + k.delta * v - k.nesterov * k.eta * total, v)
