"""Local steps and an outer step at the center: Local SGD, DiLoCo, Lookahead."""

from dataclasses import dataclass

from easgd_theory.algorithm import Parameter
from easgd_theory.algorithms.downpour import PushThenPull


@dataclass(frozen=True, eq=False)
class LocalSGD(PushThenPull):
    r"""Local SGD (federated averaging): the center moves by the mean displacement of the visiting workers.

    .. math:: \tilde x \leftarrow \tilde x + \frac1{|A|}\sum_{i\in A} v^i,
        \qquad v^i = \text{the displacement of worker } i \text{ over its } \tau \text{ steps from the center}

    Synchronous, A is everyone and this is the average of the workers; round-robin, A is one worker and this is
    `DOWNPOUR`.

    Parameters
    ----------
    eta : float or array
        Learning rate :math:`\eta` of the local steps.

    References
    ----------
    Stich (2018), arXiv:1805.09767.

    Examples
    --------
    >>> from easgd_theory import LocalSGD, Synchronous, spectral_radius
    >>> round(spectral_radius(LocalSGD(eta=0.5), Synchronous(p=4, tau=3)), 6)
    0.125
    """

    eta: Parameter = None

    reference = "Stich (2018)"

    @staticmethod
    def absorb(c, total, k, count, p):
        return (c.x + total / count,)


@dataclass(frozen=True, eq=False)
class DiLoCo(PushThenPull):
    r"""DiLoCo: the workers' mean displacement is the gradient of an outer Nesterov SGD.

    .. math::

        \Delta = -\frac1{|A|}\sum_{i\in A} v^i, \qquad m \leftarrow \mu m + \Delta,
        \qquad \tilde x \leftarrow \tilde x - \nu(\Delta + \mu m)

    with plain SGD inside; :math:`\mu = 0, \nu = 1` is `LocalSGD`.

    Parameters
    ----------
    eta : float or array
        Learning rate :math:`\eta` of the local steps.
    nu : float or array
        Outer learning rate :math:`\nu`.
    mu : float or array
        Outer momentum :math:`\mu`.

    References
    ----------
    Douillard et al. (2023), arXiv:2311.08105; the outer step is that of ``torch.optim.SGD(nesterov=True)``.

    Examples
    --------
    >>> from easgd_theory import DiLoCo, Synchronous, critical_value
    >>> round(critical_value("nu", DiLoCo(eta=0.5, mu=0.9), Synchronous(p=8)), 4)  # nu (1 - |1 - eta|) < 1.357
    2.7143
    """

    eta: Parameter = None
    nu: Parameter = None
    mu: Parameter = None

    center = ("x", "m")
    reference = "Douillard et al. (2023)"

    @staticmethod
    def absorb(c, total, k, count, p):
        delta = -total / count
        m = k.mu * c.m + delta
        return (c.x - k.nu * (delta + k.mu * m), m)


@dataclass(frozen=True, eq=False)
class Lookahead(PushThenPull):
    r"""Lookahead: slow weights move a fraction of the way to the fast weights, k steps forward, one step back.

    .. math:: \tilde x \leftarrow \tilde x + \alpha (x - \tilde x), \qquad x \leftarrow \tilde x

    then :math:`\tau` steps :math:`x \leftarrow x - \eta g(x)`. One worker.

    Parameters
    ----------
    eta : float or array
        Learning rate :math:`\eta` of the fast weights.
    alpha : float or array
        Fraction :math:`\alpha`, usually in (0, 1].

    References
    ----------
    Zhang, Lucas, Hinton, Ba (2019), arXiv:1907.08610.

    Examples
    --------
    >>> from easgd_theory import Lookahead, Synchronous, spectral_radius
    >>> round(spectral_radius(Lookahead(eta=0.1, alpha=0.5), Synchronous(p=1, tau=5)), 6)
    0.795245
    """

    eta: Parameter = None
    alpha: Parameter = None

    requires_one = {"p": "it is a sequential method with one worker"}
    reference = "Zhang, Lucas, Hinton, Ba (2019)"

    @staticmethod
    def absorb(c, total, k, count, p):
        return (c.x + k.alpha * total,)
