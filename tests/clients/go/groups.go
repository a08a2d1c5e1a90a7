package main

import (
	"context"
	"fmt"
	"time"

	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

// Scenarios of consumer groups.
var groupScenarios = []scenario{
	{"a group acknowledges, retries, parks and replays", sharesOut},
	{"a group of the whole store has a filter", sharesOutAll},
	{"groups are the client's own errors", groupErrors},
}

// eager makes each finished event worth a checkpoint at once.
func eager() *kurrentdb.PersistentSubscriptionSettings {
	settings := kurrentdb.SubscriptionSettingsDefault()
	settings.CheckpointLowerBound = 1
	settings.CheckpointUpperBound = 1
	settings.MaxRetryCount = 1
	return &settings
}

// eventually waits until the description of a group satisfies a condition.
func eventually(client *kurrentdb.Client, stream string, holds func(*kurrentdb.PersistentSubscriptionInfo) bool) error {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		info, err := client.GetPersistentSubscriptionInfo(context.Background(), stream, "mail", kurrentdb.GetPersistentSubscriptionOptions{})
		if err != nil {
			return err
		}
		if holds(info) {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("not in time: %+v", info.Stats)
		}
	}
}

// taken returns the next event of a consumer, and checks its id and number of failures.
func taken(subscription *kurrentdb.PersistentSubscription, wanted kurrentdb.EventData, retries int) (*kurrentdb.ResolvedEvent, error) {
	message := subscription.Recv()
	if message.EventAppeared == nil {
		return nil, fmt.Errorf("dropped: %+v", message.SubscriptionDropped)
	}
	appeared := message.EventAppeared
	if appeared.Event.Event.EventID != wanted.EventID || appeared.RetryCount != retries {
		return nil, fmt.Errorf("received %+v", appeared)
	}
	return appeared.Event, nil
}

func sharesOut(client *kurrentdb.Client) error {
	ctx, cancel := patience()
	defer cancel()
	stream, first, second := fresh("order"), placed(1), placed(2)
	if _, err := appendTo(client, stream, kurrentdb.Any{}, first, second); err != nil {
		return err
	}
	options := kurrentdb.PersistentStreamSubscriptionOptions{StartFrom: kurrentdb.Start{}, Settings: eager()}
	if err := client.CreatePersistentSubscription(ctx, stream, "mail", options); err != nil {
		return err
	}
	subscription, err := client.SubscribeToPersistentSubscription(ctx, stream, "mail", kurrentdb.SubscribeToPersistentSubscriptionOptions{})
	if err != nil {
		return err
	}
	defer subscription.Close()
	event, err := taken(subscription, first, 0)
	if err != nil {
		return err
	}
	if err = subscription.Ack(event); err != nil {
		return err
	}
	for retries := 0; retries < 2; retries++ {
		if event, err = taken(subscription, second, retries); err != nil {
			return err
		}
		if err = subscription.Nack("broken", kurrentdb.NackActionRetry, event); err != nil {
			return err
		}
	}
	parked := func(count int64) func(*kurrentdb.PersistentSubscriptionInfo) bool {
		return func(info *kurrentdb.PersistentSubscriptionInfo) bool {
			return info.Stats.ParkedMessagesCount == count
		}
	}
	if err = eventually(client, stream, parked(1)); err != nil {
		return err
	}
	if err = client.ReplayParkedMessages(ctx, stream, "mail", kurrentdb.ReplayParkedMessagesOptions{}); err != nil {
		return err
	}
	if event, err = taken(subscription, second, 0); err != nil {
		return err
	}
	if err = subscription.Ack(event); err != nil {
		return err
	}
	return eventually(client, stream, parked(0))
}

func sharesOutAll(client *kurrentdb.Client) error {
	ctx, cancel := patience()
	defer cancel()
	stream, group, wanted := fresh("order"), fresh("group"), placed(1)
	if _, err := appendTo(client, fresh("noise"), kurrentdb.Any{}, placed(2)); err != nil {
		return err
	}
	if _, err := appendTo(client, stream, kurrentdb.Any{}, wanted); err != nil {
		return err
	}
	err := client.CreatePersistentSubscriptionToAll(ctx, group, kurrentdb.PersistentAllSubscriptionOptions{
		StartFrom: kurrentdb.Start{},
		Settings:  eager(),
		Filter:    &kurrentdb.SubscriptionFilter{Type: kurrentdb.StreamFilterType, Prefixes: []string{stream}},
	})
	if err != nil {
		return err
	}
	subscription, err := client.SubscribeToPersistentSubscriptionToAll(ctx, group, kurrentdb.SubscribeToPersistentSubscriptionOptions{})
	if err != nil {
		return err
	}
	defer subscription.Close()
	event, err := taken(subscription, wanted, 0)
	if err != nil {
		return err
	}
	if err = subscription.Ack(event); err != nil {
		return err
	}
	return client.DeletePersistentSubscriptionToAll(ctx, group, kurrentdb.DeletePersistentSubscriptionOptions{})
}

func groupErrors(client *kurrentdb.Client) error {
	ctx, cancel := patience()
	defer cancel()
	stream := fresh("order")
	err := client.DeletePersistentSubscription(ctx, stream, "mail", kurrentdb.DeletePersistentSubscriptionOptions{})
	if err = expect(err, kurrentdb.ErrorCodeResourceNotFound); err != nil {
		return err
	}
	options := kurrentdb.PersistentStreamSubscriptionOptions{Settings: eager()}
	if err = client.CreatePersistentSubscription(ctx, stream, "mail", options); err != nil {
		return err
	}
	err = client.CreatePersistentSubscription(ctx, stream, "mail", options)
	if err = expect(err, kurrentdb.ErrorCodeResourceAlreadyExists); err != nil {
		return err
	}
	groups, err := client.ListPersistentSubscriptionsForStream(ctx, stream, kurrentdb.ListPersistentSubscriptionsOptions{})
	if err != nil || len(groups) != 1 || groups[0].GroupName != "mail" {
		return fmt.Errorf("listed %+v, %v", groups, err)
	}
	return client.RestartPersistentSubscriptionSubsystem(ctx, kurrentdb.RestartPersistentSubscriptionSubsystemOptions{})
}
