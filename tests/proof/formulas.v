(** * Batch normalization: what it is defined to be, and what the library computes as its derivatives

    Nothing is proved in this file. Its first twenty lines of formulas are the definition (Ioffe & Szegedy 2015, Algorithm
    1), to be read and believed; what follows are the closed forms of [refnorm/reference/], which the other files prove
    to be its derivatives. Names and formulas are those of the Python docstrings. *)

From Coq Require Import Reals List.
From BN Require Import sums.
Open Scope R_scope.

Section Training.
Variables (c : channel) (eps : R).

(** ** The definition *)

Definition centred (x : array) : array := fun i => x i - mean c x.
Definition var (x : array) : R := mean c (fun i => centred x i * centred x i).
Definition std (x : array) : R := sqrt (var x + eps).
Definition x_hat (x : array) : array := fun i => centred x i / std x.
Definition y (gamma beta : R) (x : array) : array := fun i => gamma * x_hat x i + beta.

(** Any loss of which dy is the gradient with respect to y has, to first order, the derivatives of this one. *)
Definition loss (dy : array) (gamma beta : R) (x : array) : R := Sum c (fun i => dy i * y gamma beta x i).

(** ** The backward: gradients of the loss *)

Definition dx (dy : array) (gamma : R) (x : array) : array := fun i =>
  gamma / std x * (dy i - mean c dy - x_hat x i * mean c (fun j => dy j * x_hat x j)).
Definition dgamma (dy x : array) : R := Sum c (fun i => dy i * x_hat x i).
Definition dbeta (dy : array) : R := Sum c dy.

(** ** Forward mode: how y moves when x, gamma and beta move along a direction

    [P a] is what is left of [a] once the mean and the variance follow it. *)

Definition P (x a : array) : array := fun i =>
  a i - mean c a - x_hat x i * mean c (fun j => a j * x_hat x j).
Definition jvp (move_x : array) (move_gamma move_beta gamma : R) (x : array) : array := fun i =>
  gamma / std x * P x move_x i + move_gamma * x_hat x i + move_beta.

(** ** Double backward: gradients of a loss that depends on dx, dgamma and dbeta *)

Definition second_loss (ddx : array) (ddgamma ddbeta : R) (dy : array) (gamma : R) (x : array) : R :=
  Sum c (fun i => ddx i * dx dy gamma x i) + ddgamma * dgamma dy x + ddbeta * dbeta dy.

Definition second_ddy (ddx : array) (ddgamma ddbeta gamma : R) (x : array) : array := fun i =>
  gamma / std x * P x ddx i + ddgamma * x_hat x i + ddbeta.
Definition second_dgamma (ddx dy x : array) : R := Sum c (fun i => ddx i * P x dy i) / std x.
Definition second_dx (ddx : array) (ddgamma : R) (dy : array) (gamma : R) (x : array) : array := fun i =>
  (ddgamma * P x dy i
   - gamma / std x * (mean c (fun j => ddx j * x_hat x j) * P x dy i
                      + mean c (fun j => dy j * x_hat x j) * P x ddx i
                      + mean c (fun j => ddx j * P x dy j) * x_hat x i)) / std x.
End Training.

(** ** Inference: mean and variance are constants (Algorithm 2), and so is all that is frozen *)

Section Frozen.
Variables (c : channel) (running_mean running_var eps : R).

Definition frozen_std : R := sqrt (running_var + eps).
Definition frozen_x_hat (x : array) : array := fun i => (x i - running_mean) / frozen_std.
Definition frozen_y (gamma beta : R) (x : array) : array := fun i => gamma * frozen_x_hat x i + beta.
Definition frozen_loss (dy : array) (gamma beta : R) (x : array) : R :=
  Sum c (fun i => dy i * frozen_y gamma beta x i).

Definition frozen_dx (dy : array) (gamma : R) : array := fun i => gamma / frozen_std * dy i.
Definition frozen_dgamma (dy x : array) : R := Sum c (fun i => dy i * frozen_x_hat x i).
Definition frozen_jvp (move_x : array) (move_gamma move_beta gamma : R) (x : array) : array := fun i =>
  gamma / frozen_std * move_x i + move_gamma * frozen_x_hat x i + move_beta.

Definition frozen_second_loss (ddx : array) (ddgamma ddbeta : R) (dy : array) (gamma : R) (x : array) : R :=
  Sum c (fun i => ddx i * frozen_dx dy gamma i) + ddgamma * frozen_dgamma dy x + ddbeta * dbeta c dy.
Definition frozen_second_ddy (ddx : array) (ddgamma ddbeta gamma : R) (x : array) : array := fun i =>
  gamma / frozen_std * ddx i + ddgamma * frozen_x_hat x i + ddbeta.
Definition frozen_second_dx (ddgamma : R) (dy : array) : array := fun i => ddgamma * dy i / frozen_std.
Definition frozen_second_dgamma (ddx dy : array) : R := Sum c (fun i => ddx i * dy i) / frozen_std.
End Frozen.

(** ** Masks: what is not counted is 0, and enters nothing; the count is that of the values that are counted *)

Section Masked.
Variables (where_ : nat -> bool) (c : channel) (eps : R).

Definition counted : channel := filter where_ c.
Definition masked_y (gamma beta : R) (x : array) : array := fun i =>
  if where_ i then y counted eps gamma beta x i else 0.
Definition masked_dx (dy : array) (gamma : R) (x : array) : array := fun i =>
  if where_ i then dx counted eps dy gamma x i else 0.
End Masked.

(** ** Merging the statistics of two parts (Chan, Golub & LeVeque 1983, equation 2.1) *)

Definition merged_mean (n_a mean_a n_b mean_b : R) : R :=
  mean_a + (mean_b - mean_a) * (n_b / (n_a + n_b)).
Definition merged_var (n_a mean_a var_a n_b mean_b var_b : R) : R :=
  let delta := mean_b - mean_a in
  var_a * (n_a / (n_a + n_b)) + var_b * (n_b / (n_a + n_b))
  + delta * delta * (n_a / (n_a + n_b) * (n_b / (n_a + n_b))).
