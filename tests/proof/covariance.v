(** * Everything is a covariance

    The covariance is linear in each of its two arrays. So along a line x + t v the variance is a parabola in t, sums
    with x_hat are straight lines over its root, and all calculus is that of one real variable. *)

From Coq Require Import Reals Lra List.
From Coquelicot Require Import Coquelicot.
From BN Require Import sums formulas.
Open Scope R_scope.

Definition line (x v : array) (t : R) : array := fun i => x i + t * v i.

Section Covariance.
Variable c : channel.
Hypothesis some_values : c <> nil.
Let m := count c.

Definition cov (a b : array) : R := mean c (fun i => centred c a i * centred c b i).

Lemma m_pos : 0 < m.
Proof. now apply count_pos. Qed.

Lemma Sum_line x v t : Sum c (line x v t) = Sum c x + t * Sum c v.
Proof. unfold line. now rewrite Sum_plus, Sum_scal. Qed.

Lemma mean_line x v t : mean c (line x v t) = mean c x + t * mean c v.
Proof. unfold mean. rewrite Sum_line. field. apply Rgt_not_eq, m_pos. Qed.

Lemma centred_line x v t i : centred c (line x v t) i = centred c x i + t * centred c v i.
Proof. unfold centred. rewrite mean_line. unfold line. ring. Qed.

Lemma Sum_centred x : Sum c (centred c x) = 0.
Proof.
  unfold centred. rewrite (Sum_ext _ _ (fun i => x i + (-1) * mean c x)) by (intros; ring).
  rewrite Sum_plus, Sum_const. unfold mean. field. apply Rgt_not_eq, m_pos.
Qed.

(** One of the two arrays may be left uncentred. *)
Lemma Sum_times_centred a x : Sum c (fun i => a i * centred c x i) = m * cov a x.
Proof.
  unfold cov, mean. fold m.
  rewrite (Sum_ext _ (fun i => centred c a i * centred c x i)
                   (fun i => a i * centred c x i + - mean c a * centred c x i)).
  2: { intros i _. unfold centred at 1. ring. }
  rewrite Sum_plus, Sum_scal, Sum_centred. field. apply Rgt_not_eq, m_pos.
Qed.

Lemma cov_sym a b : cov a b = cov b a.
Proof. unfold cov, mean. f_equal. apply Sum_ext. intros. ring. Qed.

Lemma cov_line a x v t : cov a (line x v t) = cov a x + t * cov a v.
Proof.
  unfold cov, mean. rewrite (Sum_ext _ _ (fun i => centred c a i * centred c x i
                                                  + t * (centred c a i * centred c v i))).
  2: { intros i _. rewrite centred_line. ring. }
  rewrite Sum_plus, Sum_scal. field. apply Rgt_not_eq, m_pos.
Qed.

Lemma var_line x v t : var c (line x v t) = var c x + 2 * t * cov x v + t * t * var c v.
Proof.
  change (var c) with (fun x => cov x x). cbv beta.
  rewrite cov_line, (cov_sym _ x), (cov_sym _ v), !cov_line, (cov_sym v x). ring.
Qed.

Lemma var_nonneg x : 0 <= var c x.
Proof.
  unfold var, mean. apply Rmult_le_pos.
  - apply Sum_nonneg. intros. nra.
  - left. apply Rinv_0_lt_compat, m_pos.
Qed.

(** ** The sums of batch normalization, in covariances *)

Variables (eps : R) (x : array).
Let s := std c eps x.

Lemma Sum_x_hat a : Sum c (fun i => a i * x_hat c eps x i) = m * (cov a x / s).
Proof.
  unfold x_hat. fold s. rewrite (Sum_ext _ _ (fun i => / s * (a i * centred c x i))).
  2: { intros. unfold Rdiv. ring. }
  rewrite Sum_scal, Sum_times_centred. unfold Rdiv. ring.
Qed.

Lemma loss_is_a_covariance dy gamma beta :
  loss c eps dy gamma beta x = gamma * (m * (cov dy x / s)) + beta * Sum c dy.
Proof.
  unfold loss, y. rewrite (Sum_ext _ _ (fun i => gamma * (dy i * x_hat c eps x i) + beta * dy i)) by (intros; ring).
  rewrite Sum_plus, !Sum_scal, Sum_x_hat. ring.
Qed.

Lemma mean_x_hat a : mean c (fun i => a i * x_hat c eps x i) = cov a x / s.
Proof.
  unfold mean. rewrite Sum_x_hat. fold m. set (quotient := cov a x / s). field. apply Rgt_not_eq, m_pos.
Qed.

Lemma dgamma_is_a_covariance dy : dgamma c eps dy x = m * (cov dy x / s).
Proof. apply Sum_x_hat. Qed.

(** P takes away what follows the mean, and what follows the variance. *)
Lemma P_is_a_rest a i : P c eps x a i = centred c a i - x_hat c eps x i * (cov a x / s).
Proof. unfold P. rewrite mean_x_hat. unfold centred. ring. Qed.

(** It is symmetric: the one map of forward mode and of the backward. *)
Lemma Sum_P a b : Sum c (fun i => a i * P c eps x b i) = m * (cov a b - cov a x / s * (cov b x / s)).
Proof.
  rewrite (Sum_ext _ _ (fun i => a i * centred c b i + - (cov b x / s) * (a i * x_hat c eps x i))).
  2: { intros. rewrite P_is_a_rest. ring. }
  rewrite Sum_plus, Sum_scal, Sum_x_hat, Sum_times_centred. ring.
Qed.

Lemma Sum_dx dy gamma v :
  Sum c (fun i => dx c eps dy gamma x i * v i) = gamma / s * (m * (cov dy v - cov dy x / s * (cov x v / s))).
Proof.
  unfold dx. rewrite mean_x_hat. fold s.
  rewrite (Sum_ext _ _ (fun i => gamma / s * (v i * centred c dy i + - (cov dy x / s) * (v i * x_hat c eps x i)))).
  2: { intros. unfold centred, Rdiv. ring. }
  rewrite Sum_scal, Sum_plus, Sum_scal, Sum_times_centred, Sum_x_hat, (cov_sym v dy), (cov_sym v x). ring.
Qed.
End Covariance.

(** With eps > 0 nothing is ever divided by 0; with eps = 0 that is so where x is not constant. *)
Lemma regular_if_eps_is_positive c eps x : c <> nil -> 0 < eps -> 0 < var c x + eps.
Proof. intros H. generalize (var_nonneg c H x). lra. Qed.

Lemma std_pos c eps x : 0 < var c x + eps -> 0 < std c eps x.
Proof. apply sqrt_lt_R0. Qed.
