"""Small parts of a step, one verb per file. Compose them with `equipoise.chain`."""

from equipoise.stages.alignment import alignment
from equipoise.stages.apply import apply
from equipoise.stages.arctan_divide import arctan_divide
from equipoise.stages.box import box
from equipoise.stages.cap_rows import cap_rows
from equipoise.stages.cautious import cautious
from equipoise.stages.centralize import centralize
from equipoise.stages.clip_entries import clip_entries
from equipoise.stages.clip_global import clip_global
from equipoise.stages.clip_norm import clip_norm
from equipoise.stages.clip_rms import clip_rms
from equipoise.stages.clip_spike import clip_spike
from equipoise.stages.clip_unit import clip_unit
from equipoise.stages.curvature import curvature
from equipoise.stages.d_adaptation import d_adaptation
from equipoise.stages.dead_zone import dead_zone
from equipoise.stages.difference import difference
from equipoise.stages.difference_ema import difference_ema
from equipoise.stages.distance import distance
from equipoise.stages.distance_moment import distance_moment
from equipoise.stages.divide import divide
from equipoise.stages.dual_length import dual_length
from equipoise.stages.ema import ema
from equipoise.stages.extrapolate import extrapolate
from equipoise.stages.factored_moment import factored_moment
from equipoise.stages.fisher import fisher
from equipoise.stages.freeze_zeros import freeze_zeros
from equipoise.stages.gate import gate
from equipoise.stages.gradient_distance import gradient_distance
from equipoise.stages.gradient_trust import gradient_trust
from equipoise.stages.graft import graft
from equipoise.stages.growing_ema import growing_ema
from equipoise.stages.heavy_ball import heavy_ball
from equipoise.stages.keep_pattern import keep_pattern
from equipoise.stages.kronecker_root import kronecker_root
from equipoise.stages.lion_momentum import lion_momentum
from equipoise.stages.lookahead import lookahead
from equipoise.stages.low_rank_adam import low_rank_adam
from equipoise.stages.low_rank_polar import low_rank_polar
from equipoise.stages.mask_top import mask_top
from equipoise.stages.mass import mass
from equipoise.stages.momentum_average import momentum_average
from equipoise.stages.natural_decay import natural_decay
from equipoise.stages.nesterov_ema import nesterov_ema
from equipoise.stages.norm_soft import norm_soft
from equipoise.stages.norm_track import norm_track
from equipoise.stages.normalize_columns import normalize_columns
from equipoise.stages.normalize_rms import normalize_rms
from equipoise.stages.orthogonalize import orthogonalize
from equipoise.stages.pattern_decay import pattern_decay
from equipoise.stages.pnm import pnm
from equipoise.stages.power_moment import power_moment
from equipoise.stages.power_sum import power_sum
from equipoise.stages.radius import radius
from equipoise.stages.rectified_moment import rectified_moment
from equipoise.stages.regrade import regrade
from equipoise.stages.relative_step import relative_step
from equipoise.stages.renorm import renorm
from equipoise.stages.restart import restart
from equipoise.stages.rewarm import rewarm
from equipoise.stages.rotated_adam import rotated_adam
from equipoise.stages.rounding import rounding
from equipoise.stages.row_moment import row_moment
from equipoise.stages.scalar_moment import scalar_moment
from equipoise.stages.scale_shape import scale_shape
from equipoise.stages.schedule_free import schedule_free
from equipoise.stages.second_moment import second_moment
from equipoise.stages.sign import sign
from equipoise.stages.soft_divide import soft_divide
from equipoise.stages.soft_sign import soft_sign
from equipoise.stages.spectral_cap import spectral_cap
from equipoise.stages.spectral_hard import spectral_hard
from equipoise.stages.spectral_soft import spectral_soft
from equipoise.stages.sphere_step import sphere_step
from equipoise.stages.spike_moment import spike_moment
from equipoise.stages.square_average import square_average
from equipoise.stages.square_sum import square_sum
from equipoise.stages.squash import squash
from equipoise.stages.standardize import standardize
from equipoise.stages.tangent import tangent
from equipoise.stages.throttle import throttle
from equipoise.stages.to_tangent import to_tangent
from equipoise.stages.trust_ratio import trust_ratio
from equipoise.stages.unit_length import unit_length
from equipoise.stages.unit_norms import unit_norms

__all__ = [
    "alignment",
    "apply",
    "arctan_divide",
    "box",
    "cap_rows",
    "cautious",
    "centralize",
    "clip_entries",
    "clip_global",
    "clip_norm",
    "clip_rms",
    "clip_spike",
    "clip_unit",
    "curvature",
    "d_adaptation",
    "dead_zone",
    "difference",
    "difference_ema",
    "distance",
    "distance_moment",
    "divide",
    "dual_length",
    "ema",
    "extrapolate",
    "factored_moment",
    "fisher",
    "freeze_zeros",
    "gate",
    "gradient_distance",
    "gradient_trust",
    "graft",
    "growing_ema",
    "heavy_ball",
    "keep_pattern",
    "kronecker_root",
    "lion_momentum",
    "lookahead",
    "low_rank_adam",
    "low_rank_polar",
    "mask_top",
    "mass",
    "momentum_average",
    "natural_decay",
    "nesterov_ema",
    "norm_soft",
    "norm_track",
    "normalize_columns",
    "normalize_rms",
    "orthogonalize",
    "pattern_decay",
    "pnm",
    "power_moment",
    "power_sum",
    "radius",
    "rectified_moment",
    "regrade",
    "relative_step",
    "renorm",
    "restart",
    "rewarm",
    "rotated_adam",
    "rounding",
    "row_moment",
    "scalar_moment",
    "scale_shape",
    "schedule_free",
    "second_moment",
    "sign",
    "soft_divide",
    "soft_sign",
    "spectral_cap",
    "spectral_hard",
    "spectral_soft",
    "sphere_step",
    "spike_moment",
    "square_average",
    "square_sum",
    "squash",
    "standardize",
    "tangent",
    "throttle",
    "to_tangent",
    "trust_ratio",
    "unit_length",
    "unit_norms",
]
