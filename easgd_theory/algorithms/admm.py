"""Linearized ADMM, the method that EASGD is compared with."""

from dataclasses import dataclass

from easgd_theory.algorithm import Algorithm, Parameter


@dataclass(frozen=True, eq=False)
class ADMM(Algorithm):
    r"""Alternating direction method of multipliers with a linearized worker step.

    .. math::

        \lambda^i &\leftarrow \lambda^i - (x^i - \tilde x) \\
        x^i &\leftarrow \frac{x^i - \eta g(x^i) + \eta\rho(\lambda^i + \tilde x)}{1 + \eta\rho}
            \quad\text{with the new } \lambda^i \\
        \tilde x &\leftarrow \frac1p \sum_{j=1}^p (x^j - \lambda^j)

    The center reads *all* workers at each visit, whoever made it. The multiplier is scaled: it is the paper's
    :math:`\lambda` divided by :math:`\rho`.

    Parameters
    ----------
    eta : float or array
        Learning rate :math:`\eta`.
    rho : float or array
        Penalty :math:`\rho`.

    Notes
    -----
    Round-robin it can diverge for p >= 3 although every single visit is stable: at :math:`\eta=0.001`,
    :math:`\rho=2.5`, p = 3 a round multiplies the state by 1.00097.

    References
    ----------
    Zhang, Choromanska, LeCun (2015), arXiv:1412.6651: eqs. 9-11. Ouyang, He, Tran, Gray (2013).

    Examples
    --------
    >>> from easgd_theory import ADMM, RoundRobin, spectral_radius
    >>> round(spectral_radius(ADMM(eta=0.001, rho=2.5), RoundRobin(p=3)), 7)
    1.0009739
    """

    eta: Parameter = None
    rho: Parameter = None

    worker = ("lam", "x")
    center = ("x",)
    gather = "all"
    requires_one = {"tau": "its worker step solves the linearized subproblem, once per exchange"}
    reference = "Zhang, Choromanska, LeCun (2015), eqs. 9-11"

    @staticmethod
    def query(w, c, k):
        return w.x

    @staticmethod
    def visit(w, c, k, g):
        lam = w.lam - (w.x - c.x)
        x = (w.x - k.eta * g + k.eta * k.rho * (lam + c.x)) / (1 + k.eta * k.rho)
        return (lam, x)

    @staticmethod
    def push_after(old, new, c, k):
        return new.x - new.lam

    @staticmethod
    def absorb(c, total, k, count, p):
        return (total / p,)
