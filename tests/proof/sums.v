(** * Sums and means over the positions of a channel

    An array is a function from positions (its flat indices, numbers 0, 1, 2, ...) to real numbers. A channel is the
    list of those positions that share one mean and one variance, so one definition serves every rank, every choice of
    axes and every mask. Here is what sums over such a list can do; batch normalization needs nothing else of them. *)

From Coq Require Import Reals Lra List Permutation PeanoNat.
Open Scope R_scope.

Definition array := nat -> R.
Definition channel := list nat.

Fixpoint Sum (c : channel) (f : array) : R :=
  match c with
  | nil => 0
  | i :: rest => f i + Sum rest f
  end.

Definition count (c : channel) : R := INR (length c).
Definition mean (c : channel) (f : array) : R := Sum c f / count c.

(** ** Sums are linear *)

Lemma Sum_ext c f g : (forall i, In i c -> f i = g i) -> Sum c f = Sum c g.
Proof.
  induction c as [|i rest IH]; simpl; intros H; [reflexivity|].
  rewrite (H i) by now left. rewrite IH by (intros; apply H; now right). reflexivity.
Qed.

Lemma mean_ext c f g : (forall i, In i c -> f i = g i) -> mean c f = mean c g.
Proof. intros H. unfold mean. f_equal. now apply Sum_ext. Qed.

Lemma Sum_plus c f g : Sum c (fun i => f i + g i) = Sum c f + Sum c g.
Proof. induction c as [|i rest IH]; simpl; [ring|]. rewrite IH. ring. Qed.

Lemma Sum_scal c a f : Sum c (fun i => a * f i) = a * Sum c f.
Proof. induction c as [|i rest IH]; simpl; [ring|]. rewrite IH. ring. Qed.

Lemma Sum_const c a : Sum c (fun _ => a) = count c * a.
Proof.
  unfold count. induction c as [|i rest IH]; [simpl; ring|].
  cbn [Sum length]. rewrite IH, S_INR. ring.
Qed.

Lemma Sum_nonneg c f : (forall i, 0 <= f i) -> 0 <= Sum c f.
Proof. intros H. induction c as [|i rest IH]; simpl; [lra|]. specialize (H i). lra. Qed.

(** ** Two lists one after the other, a list in another order, a list through a mask *)

Lemma Sum_app a b f : Sum (a ++ b) f = Sum a f + Sum b f.
Proof. induction a as [|i rest IH]; simpl; [ring|]. rewrite IH. ring. Qed.

Lemma Sum_permutation a b f : Permutation a b -> Sum a f = Sum b f.
Proof. induction 1; simpl; lra. Qed.

Lemma Sum_filter where_ c f : Sum (filter where_ c) f = Sum c (fun i => if where_ i then f i else 0).
Proof. induction c as [|i rest IH]; simpl; [reflexivity|]. destruct (where_ i); simpl; rewrite IH; ring. Qed.

Lemma count_app a b : count (a ++ b) = count a + count b.
Proof. unfold count. rewrite app_length. apply plus_INR. Qed.

Lemma count_permutation a b : Permutation a b -> count a = count b.
Proof. intros H. unfold count. now rewrite (Permutation_length H). Qed.

Lemma count_pos c : c <> nil -> 0 < count c.
Proof.
  unfold count. destruct c as [|i rest]; [congruence|intros _].
  apply lt_0_INR. apply Nat.lt_0_succ.
Qed.

(** ** The array that is 1 at one position, and 0 at all others *)

Definition unit_at (j : nat) : array := fun i => if Nat.eqb i j then 1 else 0.

Lemma Sum_unit_absent c j f : ~ In j c -> Sum c (fun i => f i * unit_at j i) = 0.
Proof.
  unfold unit_at. induction c as [|i rest IH]; simpl; intros H; [reflexivity|].
  destruct (Nat.eqb_spec i j) as [->|_]; [tauto|]. rewrite IH by tauto. ring.
Qed.

Lemma Sum_unit c j f : NoDup c -> In j c -> Sum c (fun i => f i * unit_at j i) = f j.
Proof.
  induction c as [|i rest IH]; [easy|]. intros D H. inversion_clear D. cbn [Sum].
  destruct (Nat.eq_dec i j) as [->|N].
  - rewrite Sum_unit_absent by assumption. unfold unit_at. rewrite Nat.eqb_refl. ring.
  - destruct H as [H|H]; [easy|]. rewrite IH by assumption. unfold unit_at.
    apply Nat.eqb_neq in N. rewrite N. ring.
Qed.
