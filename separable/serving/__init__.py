"""A fitted function answers over HTTP, and on a page with sliders.

`Surrogate` needs nothing else; the server itself (`separable.serving.application`) needs the extra ``serve``.
"""

from separable.serving.description import CoordinateRange, Uncertainty
from separable.serving.surrogate import Found, Surrogate

__all__ = ["CoordinateRange", "Found", "Surrogate", "Uncertainty"]
