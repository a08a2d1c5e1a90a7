package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

// Scenarios of projections.
var projectionScenarios = []scenario{
	{"projections have states and results of partitions", countsByStream},
	{"projections emit, stop, start and end", emitsCopies},
}

// untilState waits until an entry of the state of a partition has this value.
func untilState(projections *kurrentdb.ProjectionClient, name, partition string, n float64) error {
	ctx, options := context.Background(), kurrentdb.GetStateProjectionOptions{Partition: partition}
	var seen any
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		// The projection may not have started yet.
		if state, err := projections.GetState(ctx, name, options); err != nil {
			seen = err
		} else if seen = state.AsInterface(); fmt.Sprint(seen) == fmt.Sprint(map[string]any{"n": n}) {
			return nil
		}
	}
	return fmt.Errorf("the state of `%s` is %v, not %v", partition, seen, n)
}

func countsByStream(client *kurrentdb.Client) error {
	ctx, projections := context.Background(), kurrentdb.NewProjectionClientFromExistingClient(client)
	category, name := strings.ReplaceAll(fresh("c"), "-", ""), fresh("count")
	query := fmt.Sprintf(`fromCategory('%s').foreachStream()
		.when({ $init: () => ({ n: 0 }), placed(s, e) { s.n += e.data.n } })
		.transformBy((s) => ({ doubled: s.n * 2 }))
		.outputState()`, category)
	if err := projections.Create(ctx, name, query, kurrentdb.CreateProjectionOptions{}); err != nil {
		return err
	}
	if _, err := appendTo(client, category+"-1", kurrentdb.Any{}, placed(1), placed(2)); err != nil {
		return err
	}
	if _, err := appendTo(client, category+"-2", kurrentdb.Any{}, placed(5)); err != nil {
		return err
	}
	for partition, n := range map[string]float64{category + "-1": 3, category + "-2": 5} {
		if err := untilState(projections, name, partition, n); err != nil {
			return err
		}
	}
	options := kurrentdb.GetResultProjectionOptions{Partition: category + "-1"}
	result, err := projections.GetResult(ctx, name, options)
	if err != nil || fmt.Sprint(result.AsInterface()) != "map[doubled:6]" {
		return fmt.Errorf("the result is %v, %v", result, err)
	}
	status, err := projections.GetStatus(ctx, name, kurrentdb.GenericProjectionOptions{})
	if err != nil || status.Status != "Running" {
		return fmt.Errorf("the status is %+v, %v", status, err)
	}
	all, err := projections.ListAll(ctx, kurrentdb.GenericProjectionOptions{})
	if err != nil {
		return err
	}
	for _, listed := range all {
		if listed.Name == name {
			return nil
		}
	}
	return fmt.Errorf("%s is not among %d projections", name, len(all))
}

func emitsCopies(client *kurrentdb.Client) error {
	ctx, projections := context.Background(), kurrentdb.NewProjectionClientFromExistingClient(client)
	stream, name, emit := fresh("order"), fresh("emit"), true
	query := fmt.Sprintf(`fromStream('%s').when({
		$init: () => ({ n: 0 }),
		placed(s, e) { s.n += 1; emit('copies-%s', 'copied', e.data) },
	})`, stream, name)
	options := kurrentdb.CreateProjectionOptions{Emit: true, TrackEmittedStreams: true}
	if err := projections.Create(ctx, name, query, options); err != nil {
		return err
	}
	if _, err := appendTo(client, stream, kurrentdb.Any{}, placed(1), placed(2)); err != nil {
		return err
	}
	if err := untilState(projections, name, "", 2); err != nil {
		return err
	}
	if err := projections.Create(ctx, name, query, options); err == nil {
		return fmt.Errorf("a projection was created twice")
	}
	generic := kurrentdb.GenericProjectionOptions{}
	if err := projections.Disable(ctx, name, generic); err != nil {
		return err
	}
	copies, err := read(client, "copies-"+name, kurrentdb.ReadStreamOptions{})
	if err != nil || len(copies) != 2 {
		return fmt.Errorf("read %d copies, %v", len(copies), err)
	}
	for index, copied := range copies {
		var data struct{ N int }
		if err := json.Unmarshal(copied.Event.Data, &data); err != nil || data.N != index+1 {
			return fmt.Errorf("copy %d is %s, %v", index, copied.Event.Data, err)
		}
	}
	if err := projections.Enable(ctx, name, generic); err != nil {
		return err
	}
	if err := projections.Update(ctx, name, query, kurrentdb.UpdateProjectionOptions{Emit: &emit}); err != nil {
		return err
	}
	if err := projections.Reset(ctx, name, kurrentdb.ResetProjectionOptions{}); err != nil {
		return err
	}
	if err := untilState(projections, name, "", 2); err != nil {
		return err
	}
	if err := projections.Abort(ctx, name, generic); err != nil {
		return err
	}
	if err := projections.Delete(ctx, name, kurrentdb.DeleteProjectionOptions{DeleteEmittedStreams: true}); err != nil {
		return err
	}
	if status, err := projections.GetStatus(ctx, name, generic); err == nil {
		return fmt.Errorf("a deleted projection is %+v", status)
	}
	return projections.RestartSubsystem(ctx, generic)
}
