"""The sequential baselines: one worker, no center, so that every step is local."""

from dataclasses import dataclass

from easgd_theory.algorithm import Algorithm, Parameter

_ONE_WORKER = {"p": "it is a sequential method with one worker"}


@dataclass(frozen=True, eq=False)
class SGD(Algorithm):
    r"""Stochastic gradient descent, :math:`x \leftarrow x - \eta g(x)`.

    Parameters
    ----------
    eta : float or array
        Learning rate :math:`\eta`. Stable iff :math:`0 \le \eta h \le 2`.

    References
    ----------
    Robbins, Monro (1951).

    Examples
    --------
    >>> from easgd_theory import SGD, Synchronous, spectral_radius
    >>> spectral_radius(SGD(eta=0.5), Synchronous(p=1), h=3.0)
    0.5
    """

    eta: Parameter = None

    worker = ("x",)
    center = ()
    requires_one = _ONE_WORKER
    reference = "Robbins, Monro (1951)"

    @staticmethod
    def local_query(w, k):
        return w.x

    @staticmethod
    def local(w, k, g):
        return (w.x - k.eta * g,)


@dataclass(frozen=True, eq=False)
class MSGD(Algorithm):
    r"""SGD with Nesterov momentum, :math:`v \leftarrow \delta v - \eta g(x + \delta v)`, :math:`x \leftarrow x + v`.

    Parameters
    ----------
    eta : float or array
        Learning rate :math:`\eta`.
    delta : float or array
        Momentum :math:`\delta`. For :math:`0 \le \delta < 1` stable iff
        :math:`0 \le \eta h \le 2(1+\delta)/(1+2\delta)`.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: Section 3.1; Nesterov (1983).

    Examples
    --------
    >>> from easgd_theory import MSGD, Synchronous, critical_value
    >>> round(critical_value("eta", MSGD(delta=0.9), Synchronous(p=1)), 6)
    1.357143
    """

    eta: Parameter = None
    delta: Parameter = None

    worker = ("x", "v")
    center = ()
    requires_one = _ONE_WORKER
    reference = "Nesterov (1983); Zhang, Choromanska, LeCun (2015), Section 3.1"

    @staticmethod
    def local_query(w, k):
        return w.x + k.delta * w.v

    @staticmethod
    def local(w, k, g):
        v = k.delta * w.v - k.eta * g
        return (w.x + v, v)
