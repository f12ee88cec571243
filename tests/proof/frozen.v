(** * Inference and frozen batch normalization: the statistics are constants, so the map is a straight line *)

From Coq Require Import Reals Lra List.
From Coquelicot Require Import Coquelicot.
From BN Require Import sums formulas covariance.
Open Scope R_scope.

Section Frozen.
Variables (c : channel) (running_mean running_var eps : R) (x dy : array) (gamma : R).
Hypothesis regular : 0 < running_var + eps.
Let s := frozen_std running_var eps.
Let x_hat := frozen_x_hat running_mean running_var eps.

Lemma frozen_std_pos : 0 < s.
Proof. apply sqrt_lt_R0, regular. Qed.

(** Two factors move, so y is a parabola along a line. *)
Lemma y_along_a_line beta move_x move_gamma move_beta t i :
  frozen_y running_mean running_var eps (gamma + t * move_gamma) (beta + t * move_beta) (line x move_x t) i
  = frozen_y running_mean running_var eps gamma beta x i
    + t * (gamma / s * move_x i + move_gamma * x_hat x i + move_beta) + t * t * (move_gamma * move_x i / s).
Proof.
  generalize frozen_std_pos. intros Hs. unfold x_hat, frozen_y, frozen_x_hat, line. fold s. field. lra.
Qed.

Lemma derivative_of_a_parabola f a b d : (forall t, f t = a + t * b + t * t * d) -> is_derive f 0 b.
Proof.
  intros H. apply (is_derive_ext (fun t => a + t * b + t * t * d)); [easy|]. auto_derive; trivial. ring.
Qed.

Theorem frozen_jvp_is_the_derivative beta move_x move_gamma move_beta i :
  is_derive (fun t => frozen_y running_mean running_var eps (gamma + t * move_gamma) (beta + t * move_beta)
                               (line x move_x t) i) 0
            (frozen_jvp running_mean running_var eps move_x move_gamma move_beta gamma x i).
Proof. eapply derivative_of_a_parabola. intros t. apply y_along_a_line. Qed.

Theorem frozen_backward_is_the_derivative beta move_x move_gamma move_beta :
  is_derive (fun t => frozen_loss c running_mean running_var eps dy (gamma + t * move_gamma)
                                  (beta + t * move_beta) (line x move_x t)) 0
            (Sum c (fun i => frozen_dx running_var eps dy gamma i * move_x i)
             + frozen_dgamma c running_mean running_var eps dy x * move_gamma + dbeta c dy * move_beta).
Proof.
  apply (derivative_of_a_parabola _
    (frozen_loss c running_mean running_var eps dy gamma beta x) _
    (Sum c (fun i => dy i * (move_gamma * move_x i / s)))).
  intros t. unfold frozen_loss, frozen_dgamma, dbeta. fold x_hat.
  rewrite (Rmult_comm (Sum c _) move_gamma), (Rmult_comm (Sum c _) move_beta).
  rewrite <- !Sum_scal, <- !Sum_plus, <- !Sum_scal, <- !Sum_plus.
  apply Sum_ext. intros i _. rewrite y_along_a_line. unfold frozen_dx. fold s. ring.
Qed.

Theorem frozen_double_backward_is_the_derivative ddx ddgamma ddbeta move_x move_gamma move_dy :
  is_derive (fun t => frozen_second_loss c running_mean running_var eps ddx ddgamma ddbeta
                        (line dy move_dy t) (gamma + t * move_gamma) (line x move_x t)) 0
            (Sum c (fun i => frozen_second_dx running_var eps ddgamma dy i * move_x i)
             + frozen_second_dgamma c running_var eps ddx dy * move_gamma
             + Sum c (fun i => frozen_second_ddy running_mean running_var eps ddx ddgamma ddbeta gamma x i
                               * move_dy i)).
Proof.
  generalize frozen_std_pos. intros Hs.
  apply (derivative_of_a_parabola _
    (frozen_second_loss c running_mean running_var eps ddx ddgamma ddbeta dy gamma x) _
    (Sum c (fun i => ddx i * (move_gamma / s * move_dy i) + ddgamma * (move_dy i * (move_x i / s))))).
  intros t. unfold frozen_second_loss, frozen_second_dgamma, frozen_dgamma, dbeta.
  replace (Sum c (fun i => ddx i * dy i) / frozen_std running_var eps * move_gamma)
    with (move_gamma / s * Sum c (fun i => ddx i * dy i)) by (unfold s, Rdiv; ring).
  rewrite <- !Sum_scal, <- !Sum_plus, <- !Sum_scal, <- !Sum_plus.
  apply Sum_ext. intros i _.
  unfold frozen_second_dx, frozen_second_ddy, frozen_dx, frozen_x_hat, line. fold s. field. lra.
Qed.
End Frozen.
