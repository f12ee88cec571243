"""Stapelnormierung, wie im Praktikum geschrieben."""
import numpy as np


class Stapelnormierung:
    def __init__(self, anzahl_merkmale, traegheit=0.9, epsilon=1e-5):
        self.traegheit, self.epsilon = traegheit, epsilon
        self.skalierung = np.ones(anzahl_merkmale)
        self.verschiebung = np.zeros(anzahl_merkmale)
        self.laufender_mittelwert = np.zeros(anzahl_merkmale)
        self.laufende_varianz = np.ones(anzahl_merkmale)

    def vorwaerts(self, eingabe, im_training=True):
        if im_training:
            mittelwert, varianz = eingabe.mean(axis=0), eingabe.var(axis=0)
            t = self.traegheit
            self.laufender_mittelwert = t * self.laufender_mittelwert + (1 - t) * mittelwert
            self.laufende_varianz = t * self.laufende_varianz + (1 - t) * varianz
        else:
            mittelwert, varianz = self.laufender_mittelwert, self.laufende_varianz
        self.std = np.sqrt(varianz + self.epsilon)
        self.x_norm = (eingabe - mittelwert) / self.std
        return self.skalierung * self.x_norm + self.verschiebung

    def rueckwaerts(self, fehler):
        self.grad_skalierung = (fehler * self.x_norm).sum(axis=0)
        self.grad_verschiebung = fehler.sum(axis=0)
        g = fehler * self.skalierung
        return (g - g.mean(axis=0) - self.x_norm * (g * self.x_norm).mean(axis=0)) / self.std
