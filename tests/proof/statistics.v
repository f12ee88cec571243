(** * Masks, and statistics of parts: both are about which positions a channel has

    The proofs of training hold for every list of positions. So a masked channel needs no proof of its own: it is the
    list of those positions that count. And the statistics of two parts merge into those of the joined list. *)

From Coq Require Import Reals Lra List Permutation.
From Coquelicot Require Import Coquelicot.
From BN Require Import sums formulas covariance batch_norm.
Open Scope R_scope.

(** ** Masks *)

Section Masks.
Variables (where_ : nat -> bool) (c : channel) (eps : R) (x : array).
Let counted := counted where_ c.
Hypothesis some_are_counted : counted <> nil.
Hypothesis regular : 0 < var counted x + eps.

(** The loss is a sum over all positions, masked ones included; so is what the gradient is summed over. *)
Theorem masked_backward_is_the_derivative dy gamma beta move_x move_gamma move_beta :
  is_derive (fun t => Sum c (fun i => dy i * masked_y where_ c eps (gamma + t * move_gamma)
                                                      (beta + t * move_beta) (line x move_x t) i)) 0
            (Sum c (fun i => masked_dx where_ c eps dy gamma x i * move_x i)
             + dgamma counted eps dy x * move_gamma + dbeta counted dy * move_beta).
Proof.
  generalize (backward_is_the_derivative counted eps x some_are_counted regular
                dy gamma beta move_x move_gamma move_beta).
  replace (Sum c (fun i => masked_dx where_ c eps dy gamma x i * move_x i))
    with (Sum counted (fun i => dx counted eps dy gamma x i * move_x i)).
  - apply is_derive_ext. intros t. unfold loss. subst counted. unfold formulas.counted at 1.
    rewrite Sum_filter. apply Sum_ext. intros i _. unfold masked_y. destruct (where_ i); ring.
  - subst counted. unfold formulas.counted at 1. rewrite Sum_filter.
    apply Sum_ext. intros i _. unfold masked_dx. destruct (where_ i); ring.
Qed.

(** The count is the number of values that count, channel by channel. *)
Theorem count_of_a_masked_channel : count counted = Sum c (fun i => if where_ i then 1 else 0).
Proof.
  rewrite <- (Rmult_1_r (count counted)), <- Sum_const. apply Sum_filter.
Qed.

(** What is masked enters nothing: two inputs that agree where it counts have the same results. *)
Theorem masked_values_enter_nothing x' gamma beta i :
  (forall j, where_ j = true -> x j = x' j) ->
  masked_y where_ c eps gamma beta x i = masked_y where_ c eps gamma beta x' i.
Proof.
  intros H. unfold masked_y. destruct (where_ i) eqn:E; [|reflexivity].
  assert (M : mean counted x = mean counted x').
  { apply mean_ext. intros j I. apply filter_In in I. now apply H. }
  assert (V : var counted x = var counted x').
  { apply mean_ext. intros j I. apply filter_In in I. unfold centred. rewrite M, (H j); tauto. }
  unfold y, x_hat, std, centred. fold counted. now rewrite M, V, (H i E).
Qed.
End Masks.

(** ** Merging *)

Theorem merged_mean_is_the_mean_of_all a b x : a <> nil -> b <> nil ->
  mean (a ++ b) x = merged_mean (count a) (mean a x) (count b) (mean b x).
Proof.
  intros Ha Hb. apply count_pos in Ha, Hb.
  unfold merged_mean, mean. rewrite Sum_app, count_app. field. lra.
Qed.

(** Squares about any number at all: about the mean there are [count * var] of them, elsewhere more. *)
Lemma squares_about c x z : c <> nil ->
  Sum c (fun i => (x i - z) * (x i - z)) = count c * (var c x + (mean c x - z) * (mean c x - z)).
Proof.
  intros H. generalize (count_pos c H). intros.
  rewrite (Sum_ext _ _ (fun i => centred c x i * centred c x i
             + (2 * (mean c x - z) * centred c x i + (mean c x - z) * (mean c x - z)))).
  2: { intros. unfold centred. ring. }
  rewrite !Sum_plus, Sum_scal, Sum_const, Sum_centred by assumption.
  replace (Sum c _) with (count c * var c x) by (unfold var, mean; field; lra). ring.
Qed.

Theorem merged_var_is_the_variance_of_all a b x : a <> nil -> b <> nil ->
  var (a ++ b) x = merged_var (count a) (mean a x) (var a x) (count b) (mean b x) (var b x).
Proof.
  intros Ha Hb. generalize (count_pos a Ha) (count_pos b Hb). intros.
  unfold var at 1, mean at 1, centred. rewrite Sum_app, !squares_about, count_app by assumption.
  rewrite merged_mean_is_the_mean_of_all by assumption. unfold merged_mean, merged_var. field. lra.
Qed.

(** In which order values stand, and so how parts are chosen, does not matter. *)
Theorem order_does_not_matter a b x : Permutation a b -> mean a x = mean b x /\ var a x = var b x.
Proof.
  intros H. assert (M : forall f, mean a f = mean b f).
  { intros f. unfold mean. now rewrite (Sum_permutation _ _ _ H), (count_permutation _ _ H). }
  split; [apply M|]. unfold var, centred. rewrite <- (M x). apply M.
Qed.
