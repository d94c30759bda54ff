"""Ready optimizers: one chain each (lower case), and its drop-in torch.optim.Optimizer (CamelCase)."""

from equipoise.optim.adafactor import Adafactor, adafactor
from equipoise.optim.adagrad import Adagrad, adagrad
from equipoise.optim.adam import Adam, adam
from equipoise.optim.adam_atan2 import AdamAtan2, adam_atan2
from equipoise.optim.adam_cpr import AdamCPR, adam_cpr
from equipoise.optim.adam_hd import AdamHD, adam_hd
from equipoise.optim.adam_l2 import AdamL2, adam_l2
from equipoise.optim.adamc import AdamC, adamc
from equipoise.optim.adamh import AdamH, adamh
from equipoise.optim.adamp import AdamP, adamp
from equipoise.optim.adams import AdamS, adams
from equipoise.optim.adamw import AdamW, adamw
from equipoise.optim.adan import Adan, adan
from equipoise.optim.agc_sgd import AGCSGD, agc_sgd
from equipoise.optim.amsgrad import AMSGrad, amsgrad
from equipoise.optim.cast import CAST, cast, prune_pattern
from equipoise.optim.cautious_adamw import CautiousAdamW, cautious_adamw
from equipoise.optim.cautious_lion import CautiousLion, cautious_lion
from equipoise.optim.cautious_muon import CautiousMuon, cautious_muon
from equipoise.optim.classp import CLASSP, classp
from equipoise.optim.dadapt_adam import DAdaptAdam, dadapt_adam
from equipoise.optim.dion import Dion, dion
from equipoise.optim.dog import DoG, dog
from equipoise.optim.events import reset_momentum
from equipoise.optim.fadam import FAdam, fadam
from equipoise.optim.galore import GaLore, galore
from equipoise.optim.grams import Grams, grams
from equipoise.optim.gravity import Gravity, gravity
from equipoise.optim.gsm import GSM, gsm, prune_smallest
from equipoise.optim.l2_init import L2Init, l2_init
from equipoise.optim.lamb import LAMB, lamb
from equipoise.optim.lars import LARS, lars
from equipoise.optim.lawn import LAWN, lawn
from equipoise.optim.lion import Lion, lion
from equipoise.optim.lion_k import LionK, lion_k
from equipoise.optim.lipschitz_muon import LipschitzMuon, lipschitz_muon
from equipoise.optim.mars import MARS, mars
from equipoise.optim.muon import Muon, muon
from equipoise.optim.muonh import MuonH, muonh
from equipoise.optim.nadam import NAdam, nadam
from equipoise.optim.normuon import NorMuon, normuon
from equipoise.optim.novograd import NovoGrad, novograd
from equipoise.optim.perturbed import (
    AMP,
    ASAM,
    AWP,
    GSAM,
    MSAM,
    SAM,
    SAMON,
    Perturbation,
    Perturbed,
    amp,
    asam,
    awp,
    gsam,
    m_sam,
    sam,
    sam_on,
)
from equipoise.optim.prodigy import Prodigy, prodigy
from equipoise.optim.radam import RAdam, radam
from equipoise.optim.ranger21 import Ranger21, ranger21
from equipoise.optim.rmsprop import RMSprop, rmsprop
from equipoise.optim.schedule_free_adamw import ScheduleFreeAdamW, schedule_free_adamw
from equipoise.optim.schedule_free_sgd import ScheduleFreeSGD, schedule_free_sgd
from equipoise.optim.sgd import SGD, sgd
from equipoise.optim.sgdc import SGDC, sgdc
from equipoise.optim.sgdp import SGDP, sgdp
from equipoise.optim.sgds import SGDS, sgds
from equipoise.optim.sgdw import SGDW, sgdw
from equipoise.optim.shampoo import Shampoo, shampoo
from equipoise.optim.soap import SOAP, soap
from equipoise.optim.sophia import Sophia, sophia
from equipoise.optim.spam import SPAM, spam
from equipoise.optim.spectra import SPECTRA, spectra, spectra_around
from equipoise.optim.stable_adamw import StableAdamW, stable_adamw
from equipoise.optim.stable_spam import StableSPAM, stable_spam
from equipoise.optim.steepest_descent import SteepestDescent, steepest_descent

__all__ = [
    "AGCSGD",
    "AMP",
    "ASAM",
    "AWP",
    "CAST",
    "CLASSP",
    "GSAM",
    "GSM",
    "LAMB",
    "LARS",
    "LAWN",
    "MARS",
    "MSAM",
    "SAM",
    "SAMON",
    "SGD",
    "SGDC",
    "SGDP",
    "SGDS",
    "SGDW",
    "SOAP",
    "SPAM",
    "SPECTRA",
    "AMSGrad",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamAtan2",
    "AdamC",
    "AdamCPR",
    "AdamH",
    "AdamHD",
    "AdamL2",
    "AdamP",
    "AdamS",
    "AdamW",
    "Adan",
    "CautiousAdamW",
    "CautiousLion",
    "CautiousMuon",
    "DAdaptAdam",
    "Dion",
    "DoG",
    "FAdam",
    "GaLore",
    "Grams",
    "Gravity",
    "L2Init",
    "Lion",
    "LionK",
    "LipschitzMuon",
    "Muon",
    "MuonH",
    "NAdam",
    "NorMuon",
    "NovoGrad",
    "Perturbation",
    "Perturbed",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Ranger21",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "Shampoo",
    "Sophia",
    "StableAdamW",
    "StableSPAM",
    "SteepestDescent",
    "adafactor",
    "adagrad",
    "adam",
    "adam_atan2",
    "adam_cpr",
    "adam_hd",
    "adam_l2",
    "adamc",
    "adamh",
    "adamp",
    "adams",
    "adamw",
    "adan",
    "agc_sgd",
    "amp",
    "amsgrad",
    "asam",
    "awp",
    "cast",
    "cautious_adamw",
    "cautious_lion",
    "cautious_muon",
    "classp",
    "dadapt_adam",
    "dion",
    "dog",
    "fadam",
    "galore",
    "grams",
    "gravity",
    "gsam",
    "gsm",
    "l2_init",
    "lamb",
    "lars",
    "lawn",
    "lion",
    "lion_k",
    "lipschitz_muon",
    "m_sam",
    "mars",
    "muon",
    "muonh",
    "nadam",
    "normuon",
    "novograd",
    "prodigy",
    "prune_pattern",
    "prune_smallest",
    "radam",
    "ranger21",
    "rmsprop",
    "sam",
    "sam_on",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "sgd",
    "sgdc",
    "sgdp",
    "sgds",
    "sgdw",
    "shampoo",
    "soap",
    "sophia",
    "spam",
    "spectra",
    "spectra_around",
    "stable_adamw",
    "stable_spam",
    "steepest_descent",
    "reset_momentum",
]
