(** * The double backward is the derivative of the backward *)

From Coq Require Import Reals Lra List.
From Coquelicot Require Import Coquelicot.
From BN Require Import sums formulas covariance batch_norm.
Open Scope R_scope.

Section DoubleBackward.
Variables (c : channel) (eps : R) (x dy ddx : array) (ddgamma ddbeta gamma : R).
Hypothesis some_values : c <> nil.
Hypothesis regular : 0 < var c x + eps.
Let s := std c eps x.
Let m := count c.

(** The scalar that is differentiated, in covariances. *)
Lemma second_loss_in_covariances upstream scale z :
  second_loss c eps ddx ddgamma ddbeta upstream scale z
  = scale / std c eps z * (m * (cov c ddx upstream
                                - cov c upstream z / std c eps z * (cov c ddx z / std c eps z)))
    + ddgamma * (m * (cov c upstream z / std c eps z)) + ddbeta * Sum c upstream.
Proof.
  unfold second_loss, dbeta.
  rewrite (Sum_ext _ (fun i => ddx i * dx c eps upstream scale z i)
                     (fun i => dx c eps upstream scale z i * ddx i)) by (intros; ring).
  rewrite Sum_dx, dgamma_is_a_covariance by assumption.
  rewrite (cov_sym c z ddx), (cov_sym c upstream ddx). fold m. ring.
Qed.

(** The only calculus: every covariance is a polynomial along the line, and the standard deviation its root. *)
Lemma derivative_of_the_second_loss V C W A A' B B' D D' D'' g g' S S' : 0 < V ->
  let q := sqrt V in
  is_derive (fun t => let r := sqrt (V + 2 * t * C + t * t * W) in
    (g + t * g') / r * (m * ((A + t * A') - (D + t * D' + t * t * D'') / r * ((B + t * B') / r)))
    + ddgamma * (m * ((D + t * D' + t * t * D'') / r)) + ddbeta * (S + t * S')) 0
   (g' / q * (m * (A - D / q * (B / q)))
    + g / q * (m * (A' - D' / q * (B / q) - D / q * (B' / q) + 2 * (D / q) * (B / q) * (C / (q * q))))
    - g / q * (C / (q * q)) * (m * (A - D / q * (B / q)))
    + ddgamma * (m * (D' / q - D / q * (C / (q * q)))) + ddbeta * S').
Proof.
  intros HV q. assert (Hq : 0 < q) by now apply sqrt_lt_R0.
  assert (E : V + 2 * 0 * C + 0 * 0 * W = V) by ring.
  cbv zeta. auto_derive; rewrite ?E; fold q.
  - repeat split; lra.
  - field. lra.
Qed.

Theorem double_backward_is_the_derivative move_x move_gamma move_dy :
  is_derive (fun t => second_loss c eps ddx ddgamma ddbeta (line dy move_dy t)
                                  (gamma + t * move_gamma) (line x move_x t)) 0
            (Sum c (fun i => second_dx c eps ddx ddgamma dy gamma x i * move_x i)
             + second_dgamma c eps ddx dy x * move_gamma
             + Sum c (fun i => second_ddy c eps ddx ddgamma ddbeta gamma x i * move_dy i)).
Proof.
  generalize (std_pos _ _ _ regular). fold s. intros Hs.
  evar_last.
  - eapply is_derive_ext; cycle 1.
    + apply (derivative_of_the_second_loss (var c x + eps) (cov c x move_x) (var c move_x)
        (cov c ddx dy) (cov c ddx move_dy) (cov c ddx x) (cov c ddx move_x)
        (cov c dy x) (cov c dy move_x + cov c move_dy x) (cov c move_dy move_x)
        gamma move_gamma (Sum c dy) (Sum c move_dy) regular).
    + intros t. cbv zeta. rewrite second_loss_in_covariances, std_along by assumption.
      rewrite !(cov_sym c (line dy move_dy t)), !cov_line by assumption.
      rewrite !(cov_sym c (line x move_x t)), !cov_line by assumption.
      rewrite Sum_line, ?(cov_sym c move_x), ?(cov_sym c x).
      match goal with |- @eq _ ?a ?b => change (@eq R a b) end. unfold Rdiv. ring.
  - change (sqrt (var c x + eps)) with s.
    rewrite (Sum_ext _ (fun i => second_dx c eps ddx ddgamma dy gamma x i * move_x i) (fun i =>
      (ddgamma / s - gamma / s * (cov c ddx x / s) / s) * (move_x i * P c eps x dy i)
      + (- (gamma / s * (cov c dy x / s) / s) * (move_x i * P c eps x ddx i)
      + - (gamma / s * (cov c ddx dy - cov c ddx x / s * (cov c dy x / s)) / s)
          * (move_x i * x_hat c eps x i)))).
    2: { intros i _. unfold second_dx. rewrite !mean_x_hat by assumption.
         unfold mean at 1. rewrite Sum_P by assumption. fold s. field. split; [lra|].
         apply Rgt_not_eq. now apply m_pos. }
    rewrite (Sum_ext _ (fun i => second_ddy c eps ddx ddgamma ddbeta gamma x i * move_dy i) (fun i =>
      gamma / s * (move_dy i * P c eps x ddx i)
      + (ddgamma * (move_dy i * x_hat c eps x i) + ddbeta * move_dy i))).
    2: { intros i _. unfold second_ddy. fold s. ring. }
    unfold second_dgamma. rewrite !Sum_plus, !Sum_scal, !Sum_P, !Sum_x_hat by assumption. fold s m.
    rewrite (cov_sym c move_dy ddx), (cov_sym c move_dy x), (cov_sym c move_x dy),
      (cov_sym c move_x ddx), (cov_sym c move_x x), ?(cov_sym c x move_dy). field. lra.
Qed.
End DoubleBackward.
