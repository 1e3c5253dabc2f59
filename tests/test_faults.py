"""The faults that must be met by one sentence or an exact recovery, and where each is tested.

`pytest -m fault` runs all of them. A fault test also checks that nothing half-written stays under
the final name, wherever something is written.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent

PROMISED = {
    "truncated HDF5": "data/test_faults.py::test_truncated_file",
    "damaged chunk": "data/test_faults.py::test_broken_chunk_is_named_with_its_sample",
    "NaN in data": "data/test_faults.py::test_nan_in_training_data",
    "NaN in weights": "hub/test_faults.py::test_nan_weights",
    "NaN in training": (
        "training/test_task.py::test_a_loss_that_blows_up_ends_training_with_a_reason"
    ),
    "wrong variable": (
        "data/test_faults.py::test_every_message_of_a_misspelt_name_lists_what_there_is"
    ),
    "wrong shape of data": "data/test_faults.py::test_test_data_of_another_problem",
    "wrong shape of weights": "hub/test_faults.py::test_wrong_shape",
    "missing statistics": "hub/test_faults.py::test_lost_statistics",
    "statistics never fitted": "hub/test_faults.py::test_statistics_that_were_never_fitted",
    "pickled checkpoint": "training/test_checkpoint.py::test_a_payload_is_refused_and_not_run",
    "pickled official weights": "hub/test_checkpoint.py::test_a_payload_is_refused_and_never_runs",
    "class to import in a checkpoint": (
        "cli/test_fit_traps.py::test_2_a_checkpoint_cannot_have_a_class_imported"
    ),
    "path traversal in a zip": "hub/test_archive.py::test_zip_slip_is_refused",
    "path traversal in a tar": "hub/test_archive.py::test_tar_traversal_is_refused",
    "unknown key in a recipe": "cli/test_fit_traps.py::test_11_unknown_top_level_keys_are_refused",
    "unknown key in a model": "hub/test_faults.py::test_unknown_key",
    "misspelt option": (
        "cli/test_fit_traps.py::test_7_misspelt_options_are_refused_with_the_closest"
    ),
    "conflicting overrides at resume": (
        "cli/test_fit_traps.py::test_1_a_checkpoint_and_the_command_line_that_differ_are_refused"
    ),
    "other data at resume": "training/test_resume.py::test_resuming_on_other_data_is_refused",
    "disk full in generate": (
        "data/solvers/test_generate.py::"
        "test_full_disk_leaves_nothing_under_the_name_and_is_recovered"
    ),
    "disk full in save_pretrained": (
        "hub/test_saving.py::test_a_failed_write_leaves_the_old_model"
    ),
    "disk full in a rollout": (
        "rollout/test_drive.py::test_full_disk_is_one_sentence_and_keeps_the_older_rollout"
    ),
    "disk full in a checkpoint": (
        "training/test_run_files.py::test_a_failed_write_leaves_the_previous_checkpoint"
    ),
    "killed generator": ("data/solvers/test_generate.py::test_killed_run_is_continued_bit_for_bit"),
    "killed training": (
        "training/test_resume.py::"
        "test_kill_minus_nine_leaves_a_checkpoint_that_continues_bit_for_bit"
    ),
    "two generators of one file": "data/solvers/test_generate.py::test_second_writer_is_refused",
    "two rollouts to one file": (
        "rollout/test_drive.py::test_second_writer_of_a_rollout_is_refused"
    ),
    "truncated Parquet": "data/test_series_faults.py::test_truncated_parquet",
    "duplicate time": "data/test_series_time_faults.py::test_duplicate_time",
    "unsorted times": "data/test_series_time_faults.py::test_unsorted_times",
    "missing rows of a series": "data/test_series_time_faults.py::test_missing_rows",
    "zones in part": "data/test_series_time_faults.py::test_times_with_and_without_a_zone",
    "text in numbers": "data/test_series_faults.py::test_text_in_numbers",
    "missing value in a series": "data/test_series_faults.py::test_missing_value",
    "series that is too short": "data/test_series_faults.py::test_series_that_are_too_short",
    "known covariate without a future": (
        "data/test_series_time_faults.py::test_known_covariates_of_the_future"
    ),
    "other variates at prediction": (
        "data/test_series_faults.py::test_other_data_than_those_of_training"
    ),
    "pickled samples": "data/test_points_pickle.py::test_a_hostile_pickle_is_refused_and_not_run",
    "truncated pickle": "data/test_points_pickle.py::test_a_truncated_pickle",
    "truncated mesh": "data/test_points_mesh_faults.py::test_files_that_are_no_whole_mesh",
    "unknown kind of cell": "data/test_points_mesh_faults.py::test_an_unknown_kind_of_cell",
    "plane and solid meshes": (
        "data/test_points_mesh_faults.py::test_plane_and_solid_meshes_do_not_mix"
    ),
    "empty input function": "data/test_points_faults.py::test_an_empty_input_function",
    "weights that are none": "data/test_points_faults.py::test_numbers_that_are_none",
    "target missing in one sample": (
        "data/test_points_mesh_faults.py::test_a_target_that_one_file_lacks"
    ),
    "columns that differ": (
        "data/test_points_mesh_faults.py::test_an_input_function_with_other_columns"
    ),
    "split without samples": "data/test_points_faults.py::test_splits_without_samples",
    "corrupt JPEG": "data/test_images_faults.py::test_a_corrupt_jpeg",
    "empty image file": "data/test_images_faults.py::test_files_that_are_no_images",
    "16-bit image": "data/test_images_faults.py::test_16_bit_images",
    "transparent image": "data/test_images_faults.py::test_transparent_images",
    "images of several sizes": "data/test_images_faults.py::test_images_of_several_sizes",
    "class without images": "data/test_images_faults.py::test_missing_and_empty_folders",
    "foreign file among images": (
        "data/test_images_faults.py::test_what_does_not_belong_into_a_class"
    ),
    "class that is not trained": "data/test_images_faults.py::test_a_class_that_is_not_trained",
    "split without a class": "data/test_images_faults.py::test_a_class_without_a_training_image",
    "labels that do not fit": "data/test_images_faults.py::test_labels_that_do_not_fit",
    "arrays that are no images": "data/test_images_faults.py::test_arrays_that_are_no_images",
    "damaged or pickled .npz": "data/test_images_faults.py::test_npz_files",
    "damaged file in a worker": (
        "vision/test_cct_recipes.py::test_a_damaged_file_that_a_worker_meets_is_one_sentence"
    ),
    "other images at prediction": (
        "vision/test_classification_task.py::test_what_a_classifier_cannot_predict"
    ),
    "other inputs at prediction": (
        "operators/test_point_files.py::test_data_that_the_model_was_not_trained_for"
    ),
    "damaged photo of poses": "data/test_pose_faults.py::test_a_corrupt_jpeg",
    "annotations that cannot be": "data/test_pose_faults.py::test_annotations",
    "16-bit or transparent photo": (
        "data/test_pose_faults.py::test_images_that_cannot_be_read_exactly"
    ),
    "photo turned by EXIF": (
        "data/test_pose_faults.py::test_photos_whose_annotations_are_for_the_stored_side"
    ),
    "missing photo or folder": "data/test_pose_faults.py::test_missing_files_and_folders",
    "joints of another set": "data/test_pose_faults.py::test_other_joints_than_the_set",
    "skeleton of other joints": "data/test_pose_faults.py::test_a_skeleton_of_other_joints",
    "unknown category": "data/test_pose_faults.py::test_no_category_of_the_set",
    "file without annotations": "data/test_pose_faults.py::test_no_annotations",
    "nobody with a joint": "data/test_pose_faults.py::test_nobody_with_a_labelled_joint",
    "poses divided twice": "data/test_pose_faults.py::test_empty_and_double_splits",
    "detections of other images": "data/test_pose_faults.py::test_detections",
    "stopped drawing of figures": "data/test_figures.py::test_a_stopped_run_is_continued",
    "joints of network and data": "vision/test_pose_task.py::test_what_does_not_go_together",
    "teacher of other joints": "vision/test_pose_task.py::test_teachers_that_cannot_teach",
    "AP without areas": ("vision/test_pose_evaluation.py::test_a_metric_that_needs_areas_says_so"),
    "poses and annotations that differ": (
        "vision/test_pose_evaluation.py::test_poses_and_annotations_of_other_joints"
    ),
    "PCK by joints that lack": (
        "vision/test_pose_evaluation.py::test_a_size_of_joints_that_the_set_lacks"
    ),
    "boxes file without boxes": ("vision/test_pose_predicting.py::test_files_without_usable_boxes"),
    "pose network without joints' names": (
        "vision/test_pose_recipes.py::test_predicting_without_a_model_that_knows_its_joints"
    ),
    "video without its library": (
        "vision/test_pose_predicting.py::test_a_video_without_its_library"
    ),
    "no images to predict": "vision/test_pose_predicting.py::test_what_cannot_be_looked_at",
    "structures without labels": (
        "atomistic/test_atoms_task.py::test_a_batch_without_anything_to_learn_from"
    ),
    "data without what a potential learns": (
        "atomistic/test_atoms_task.py::test_data_that_lack_what_is_to_be_learnt"
    ),
    "units of atoms that cannot be": "data/test_atoms_faults.py::test_arrays",
    "pickled graphs of atoms": (
        "data/test_atoms_faults.py::test_a_malicious_lmdb_is_refused_and_never_runs"
    ),
    "truncated HDF5 of atoms": "data/test_atoms_faults.py::test_truncated_hdf5",
    "truncated LMDB": "data/test_atoms_faults.py::test_truncated_lmdb",
    "truncated XYZ": "data/test_atoms_faults.py::test_xyz",
    "motion that blows up": "data/solvers/test_md.py::test_faults",
    "teacher that is not installed": (
        "data/solvers/test_md.py::test_a_teacher_that_is_not_installed"
    ),
    "figures that a potential cannot have": (
        "atomistic/test_atoms_task.py::test_metrics_and_weights_that_the_network_cannot_have"
    ),
    "loss of energies that cannot be": "atomistic/test_atoms_task.py::test_losses_that_cannot_be",
    "fine-tuning of no potential": (
        "atomistic/test_fine_tuning.py::test_sources_that_are_no_potential"
    ),
    "elements that a potential does not know": (
        "atomistic/test_atoms_recipes.py::test_what_cannot_be_predicted"
    ),
    "action that is not finite": "robotics/test_action_tokens.py::test_actions_that_are_none",
    "observation without its camera": (
        "robotics/test_rt1.py::test_an_observation_that_lacks_its_camera"
    ),
    "actions beyond their limits": "robotics/test_dit_policy.py::test_actions_that_are_refused",
    "camera or state that is missing": (
        "robotics/test_dit_policy.py::test_observations_that_are_refused"
    ),
    "modality that is missing": "robotics/test_hpt.py::test_observations_that_are_refused",
    "instruction that nobody hears": (
        "robotics/test_dit_policy.py::test_instructions_that_nobody_hears"
    ),
    "pointer of Git LFS for a checkpoint": ("hub/test_tensor_bundle.py::test_pointers_of_git_lfs"),
    "small checkpoint of endless keys": (
        "hub/test_tensor_bundle.py::test_a_small_table_of_endless_keys"
    ),
    "trunk that lacks a weight": ("hub/test_official_hpt.py::test_files_that_do_not_tell_enough"),
    "simulator that is killed or hangs": (
        "data/environments/test_crew.py::"
        "test_a_process_that_fails_once_is_replaced_and_nothing_else_changes"
    ),
    "simulator that always fails": (
        "data/environments/test_crew.py::test_a_process_that_fails_again_and_again_is_given_up"
    ),
    "killed simulator in an evaluation": (
        "robotics/test_closed_loop.py::test_a_killed_simulator_does_not_change_the_results"
    ),
    "environment that raises": (
        "data/environments/test_crew.py::test_an_error_of_an_environment_says_where"
    ),
    "environment that is not there": (
        "data/environments/test_opening.py::test_an_unknown_environment"
    ),
    "environment that shows something else": (
        "cli/test_rollout_policy.py::test_an_environment_that_does_not_show_what_the_policy_sees"
    ),
    "actions of a policy that are not finite": (
        "robotics/test_loop_faults.py::test_actions_that_are_not_finite"
    ),
    "actions of another size": "robotics/test_loop_faults.py::test_actions_of_another_size",
    "film that cannot be made": "robotics/test_loop_faults.py::test_a_film_of_what_cannot_be_seen",
    "expert that fails": "data/solvers/test_demonstrations.py::test_an_expert_that_fails",
    "killed recording of demonstrations": (
        "data/solvers/test_demonstrations.py::test_a_killed_run_is_continued"
    ),
    "file without a trunk": "hub/test_official_hpt.py::test_files_without_a_trunk",
    "episodes that are not alike": (
        "data/test_demonstrations_faults.py::test_episodes_that_are_not_alike"
    ),
    "demonstrated numbers that are not finite": (
        "data/test_demonstrations_faults.py::test_numbers_that_are_not_finite"
    ),
    "actions beyond the limits that are given": (
        "data/test_demonstrations_faults.py::test_options_that_do_not_fit_the_data"
    ),
    "video that cannot be decoded, or lacks frames": (
        "data/test_demonstrations_faults.py::test_lerobots_videos"
    ),
    "data set of another version of LeRobot": (
        "data/test_demonstrations_faults.py::test_lerobots_info"
    ),
    "recording that fails": (
        "data/test_demonstrations_write.py::test_a_failed_recording_leaves_nothing"
    ),
    "observation that a policy was not trained on": (
        "robotics/test_policy.py::test_observations_that_do_not_fit"
    ),
    "network that asks for what the data do not give": (
        "robotics/test_policy.py::test_networks_that_ask_for_what_the_data_do_not_give"
    ),
    "policy without statistics": (
        "robotics/test_policy.py::test_a_policy_without_statistics_does_not_act"
    ),
    "worlds that cannot be": "data/test_decisions_module.py::test_worlds_that_cannot_be",
    "labels that are not known": "data/test_decisions_posterior.py::test_labels_that_cannot_be",
    "worlds of another kind": (
        "data/test_decisions_module.py::test_worlds_of_another_kind_than_trained_in"
    ),
    "agents that cannot be trained": "decisions/test_in_context_task.py::test_tasks_that_cannot_be",
    "rewards and arms that cannot be": (
        "decisions/test_in_context_task.py::test_games_that_cannot_be"
    ),
    "more rounds than there is room for": (
        "decisions/test_networks.py::test_rounds_beyond_the_room"
    ),
    "weights that do not tell their network": (
        "hub/test_official_dpt.py::test_weights_that_do_not_tell_their_network"
    ),
    "unseen category": "recommenders/test_hiformer.py::test_inputs_that_do_not_fit",
    "unseen category in a list": "recommenders/test_hiformer.py::test_an_unknown_id_in_a_list",
    "rows without a column": "recommenders/test_ranker.py::test_rows_that_do_not_fit",
    "columns of two roles": "recommenders/test_ranker.py::test_descriptions_that_cannot_be",
    "categories that are numbered otherwise": (
        "recommenders/test_ranker.py::test_tables_that_are_numbered_otherwise"
    ),
    "network of another table": "recommenders/test_ranker.py::test_networks_of_another_table",
    "ranker without statistics": (
        "recommenders/test_ranker.py::test_a_ranker_without_description_or_statistics"
    ),
    "network that does not fold": "recommenders/test_folding.py::test_networks_that_do_not_fold",
    "inputs that nothing asks for": (
        "recommenders/test_hiformer.py::test_inputs_that_nothing_asks_for"
    ),
    "narrow tables without rows to measure on": (
        "recommenders/test_serving.py::test_what_is_not_exported_for_serving"
    ),
    "ranker that does not fold": "recommenders/test_serving.py::test_other_models_do_not_fold",
    "wrong requests to a server": (
        "recommenders/test_http_example.py::test_wrong_requests_get_one_sentence"
    ),
    "model that cannot be timed": "bench/test_latency.py::test_what_is_not_timed",
    "labels beside 0 and 1": (
        "recommenders/test_ranking_scores.py::test_figures_of_what_cannot_be"
    ),
    "label map of another size": ("data/test_scenes_faults.py::test_a_label_map_of_another_size"),
    "class without a training pixel": (
        "data/test_scenes_faults.py::test_a_class_without_a_training_pixel"
    ),
    "truncated ENVI scene": "data/test_scenes_faults.py::test_a_truncated_envi_scene",
    "scene without a band": "data/test_scenes_faults.py::test_no_band_is_left",
    "scene of other bands at prediction": (
        "hyperspectral/test_scene_task.py::test_scenes_that_a_model_was_not_trained_for"
    ),
    "killed search of options": (
        "cli/test_tune.py::test_a_killed_search_ends_like_one_that_was_not"
    ),
    "trial of a search that fails": (
        "cli/test_tune.py::test_failing_trials_are_counted_and_the_others_go_on"
    ),
    "options that cannot be searched": (
        "cli/test_tune.py::test_mistakes_are_told_before_anything_trains"
    ),
    "two trainings in one folder": (
        "cli/test_fit_folders.py::test_two_trainings_do_not_share_a_folder"
    ),
}


@cache
def fault_tests() -> frozenset[str]:
    """All tests with the mark, as file::name, read from the sources."""
    found = set()
    for path in sorted(HERE.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        everywhere = any(
            isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "pytestmark"
            and "mark.fault" in ast.unparse(node.value)
            for node in tree.body
        )
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                marked = any("mark.fault" in ast.unparse(d) for d in node.decorator_list)
                if marked or everywhere:
                    found.add(f"{path.relative_to(HERE).as_posix()}::{node.name}")
    return frozenset(found)


@pytest.mark.parametrize("fault", PROMISED)
def test_a_promised_fault_is_tested(fault: str) -> None:
    assert PROMISED[fault] in fault_tests()


def test_at_least_forty_faults_are_tested() -> None:
    assert len(fault_tests()) >= 40
