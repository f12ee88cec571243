(** * The closed forms of training are its derivatives: for every count, input, direction and parameter *)

From Coq Require Import Reals Lra List.
From Coquelicot Require Import Coquelicot.
From BN Require Import sums formulas covariance.
Open Scope R_scope.

(** The only calculus in this file: a straight line over the root of a parabola, times another straight line. *)
Lemma derivative_of_a_quotient V C W g g' k k' : 0 < V ->
  is_derive (fun t => (g + t * g') * ((k + t * k') / sqrt (V + 2 * t * C + t * t * W))) 0
            (g' * (k / sqrt V) + g / sqrt V * (k' - k / sqrt V * (C / sqrt V))).
Proof.
  intros HV. generalize (sqrt_lt_R0 _ HV). intros Hs.
  assert (E : V + 2 * 0 * C + 0 * 0 * W = V) by ring.
  auto_derive; rewrite E.
  - repeat split; lra.
  - field. lra.
Qed.

Section Training.
Variables (c : channel) (eps : R) (x : array).
Hypothesis some_values : c <> nil.
Hypothesis regular : 0 < var c x + eps.

Lemma std_along v t :
  std c eps (line x v t) = sqrt (var c x + eps + 2 * t * cov c x v + t * t * var c v).
Proof. unfold std. rewrite var_line by assumption. f_equal. ring. Qed.

(** ** Forward mode: y moves as [jvp] says when x, gamma and beta move together *)

Theorem jvp_is_the_derivative gamma beta move_x move_gamma move_beta i :
  is_derive (fun t => y c eps (gamma + t * move_gamma) (beta + t * move_beta) (line x move_x t) i) 0
            (jvp c eps move_x move_gamma move_beta gamma x i).
Proof.
  apply (is_derive_ext (fun t =>
    (gamma + t * move_gamma) * ((centred c x i + t * centred c move_x i)
      / sqrt (var c x + eps + 2 * t * cov c x move_x + t * t * var c move_x)) + (beta + t * move_beta))).
  { intros t. unfold y, x_hat. rewrite std_along, centred_line by assumption. reflexivity. }
  evar_last.
  - apply @is_derive_plus; [now apply derivative_of_a_quotient | auto_derive; trivial].
  - unfold jvp. rewrite P_is_a_rest, (cov_sym c move_x) by assumption.
    unfold x_hat, plus. simpl. change (sqrt (var c x + eps)) with (std c eps x). unfold Rdiv. ring.
Qed.

(** ** Backward: the loss moves as [dx], [dgamma] and [dbeta] say *)

Theorem backward_is_the_derivative dy gamma beta move_x move_gamma move_beta :
  is_derive (fun t => loss c eps dy (gamma + t * move_gamma) (beta + t * move_beta) (line x move_x t)) 0
            (Sum c (fun i => dx c eps dy gamma x i * move_x i)
             + dgamma c eps dy x * move_gamma + dbeta c dy * move_beta).
Proof.
  apply (is_derive_ext (fun t =>
    (gamma + t * move_gamma) * ((count c * cov c dy x + t * (count c * cov c dy move_x))
      / sqrt (var c x + eps + 2 * t * cov c x move_x + t * t * var c move_x))
    + (beta + t * move_beta) * Sum c dy)).
  { intros t. rewrite loss_is_a_covariance, std_along, cov_line by assumption. unfold Rdiv. simpl. ring. }
  evar_last.
  - apply @is_derive_plus; [now apply derivative_of_a_quotient | auto_derive; trivial].
  - rewrite Sum_dx, dgamma_is_a_covariance by assumption. unfold dbeta, plus. simpl.
    change (sqrt (var c x + eps)) with (std c eps x). unfold Rdiv. ring.
Qed.

(** ** One at a time *)

Corollary dx_is_the_gradient dy gamma beta move_x :
  is_derive (fun t => loss c eps dy gamma beta (line x move_x t)) 0
            (Sum c (fun i => dx c eps dy gamma x i * move_x i)).
Proof.
  generalize (backward_is_the_derivative dy gamma beta move_x 0 0).
  rewrite !Rmult_0_r, !Rplus_0_r. apply is_derive_ext. intros t. now rewrite !Rmult_0_r, !Rplus_0_r.
Qed.

Corollary dx_is_the_partial_derivative dy gamma beta j : NoDup c -> In j c ->
  is_derive (fun t => loss c eps dy gamma beta (line x (unit_at j) t)) 0 (dx c eps dy gamma x j).
Proof. intros D I. rewrite <- (Sum_unit c j (dx c eps dy gamma x) D I). apply dx_is_the_gradient. Qed.

(** No other formula is right: whatever is the gradient has these values. *)
Corollary there_is_no_other_gradient dy gamma beta g : NoDup c ->
  (forall v, is_derive (fun t => loss c eps dy gamma beta (line x v t)) 0 (Sum c (fun i => g i * v i))) ->
  forall j, In j c -> g j = dx c eps dy gamma x j.
Proof.
  intros D H j I. specialize (H (unit_at j)). rewrite Sum_unit in H by assumption.
  apply is_derive_unique in H. rewrite <- H. apply is_derive_unique. now apply dx_is_the_partial_derivative.
Qed.

Corollary dgamma_is_the_derivative dy gamma beta :
  is_derive (fun g => loss c eps dy g beta x) gamma (dgamma c eps dy x).
Proof.
  apply (is_derive_ext (fun g => g * dgamma c eps dy x + beta * dbeta c dy)).
  - intros g. now rewrite loss_is_a_covariance, dgamma_is_a_covariance.
  - auto_derive; trivial. ring.
Qed.

Corollary dbeta_is_the_derivative dy gamma beta :
  is_derive (fun b => loss c eps dy gamma b x) beta (dbeta c dy).
Proof.
  apply (is_derive_ext (fun b => gamma * dgamma c eps dy x + b * dbeta c dy)).
  - intros b. now rewrite loss_is_a_covariance, dgamma_is_a_covariance.
  - auto_derive; trivial. ring.
Qed.
End Training.

(** With eps > 0 there is no condition on the data at all. *)
Corollary backward_is_the_derivative_for_every_eps c eps x dy gamma beta move_x move_gamma move_beta :
  c <> nil -> 0 < eps ->
  is_derive (fun t => loss c eps dy (gamma + t * move_gamma) (beta + t * move_beta) (line x move_x t)) 0
            (Sum c (fun i => dx c eps dy gamma x i * move_x i)
             + dgamma c eps dy x * move_gamma + dbeta c dy * move_beta).
Proof. intros. apply backward_is_the_derivative; [assumption | now apply regular_if_eps_is_positive]. Qed.
