// Appends, reads, subscriptions, groups and projections through the official package for Go.
//
// Usage: go run . HOST:PORT
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/kurrent-io/KurrentDB-Client-Go/kurrentdb"
)

type scenario struct {
	name string
	run  func(*kurrentdb.Client) error
}

var scenarios = []scenario{
	{"appends with each expectation and reads back", appendsAndReads},
	{"a wrong revision and an unknown stream are the client's own errors", ownErrors},
	{"a category is followed with its links resolved", followsACategory},
	{"the whole store is followed by a filter with checkpoints", followsAll},
	{"metadata, deletion and tombstone", metadataAndDeletion},
	{"several streams are appended to together or not at all", appendsToSeveralStreams},
}

func fresh(category string) string {
	return category + "-" + strings.ReplaceAll(uuid.NewString(), "-", "")
}

func placed(n int) kurrentdb.EventData {
	return kurrentdb.EventData{
		EventID:     uuid.New(),
		EventType:   "placed",
		ContentType: kurrentdb.ContentTypeJson,
		Data:        []byte(fmt.Sprintf(`{"n":%d}`, n)),
	}
}

func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 30*time.Second)
}

func appendTo(client *kurrentdb.Client, stream string, state kurrentdb.StreamState, events ...kurrentdb.EventData) (*kurrentdb.WriteResult, error) {
	options := kurrentdb.AppendToStreamOptions{StreamState: state}
	return client.AppendToStream(context.Background(), stream, options, events...)
}

func read(client *kurrentdb.Client, stream string, options kurrentdb.ReadStreamOptions) ([]*kurrentdb.ResolvedEvent, error) {
	events, err := client.ReadStream(context.Background(), stream, options, math.MaxUint64)
	if err != nil {
		return nil, err
	}
	defer events.Close()
	var all []*kurrentdb.ResolvedEvent
	for {
		event, err := events.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, event)
	}
}

// expect fails unless the error has this code.
func expect(err error, code kurrentdb.ErrorCode) error {
	if known, isNil := kurrentdb.FromError(err); !isNil && known.IsErrorCode(code) {
		return nil
	}
	return fmt.Errorf("expected the error %d, got %v", code, err)
}

func appendsAndReads(client *kurrentdb.Client) error {
	stream, first := fresh("order"), placed(1)
	written, err := appendTo(client, stream, kurrentdb.NoStream{}, first)
	if err != nil {
		return err
	}
	if written.NextExpectedVersion != 0 || written.CommitPosition == 0 {
		return fmt.Errorf("the result was %+v", written)
	}
	if _, err = appendTo(client, stream, kurrentdb.Revision(0), placed(2), placed(3)); err != nil {
		return err
	}
	if _, err = appendTo(client, stream, kurrentdb.StreamExists{}, placed(4)); err != nil {
		return err
	}
	again, err := appendTo(client, stream, kurrentdb.NoStream{}, first)
	if err != nil || again.CommitPosition != written.CommitPosition {
		return fmt.Errorf("a repeat was answered with %+v, %v", again, err)
	}
	events, err := read(client, stream, kurrentdb.ReadStreamOptions{})
	if err != nil || len(events) != 4 || events[0].Event.EventID != first.EventID {
		return fmt.Errorf("read %d events, %v", len(events), err)
	}
	back := kurrentdb.ReadStreamOptions{Direction: kurrentdb.Backwards, From: kurrentdb.End{}}
	events, err = read(client, stream, back)
	if err != nil || len(events) != 4 || events[0].Event.EventNumber != 3 {
		return fmt.Errorf("read %d events backwards, %v", len(events), err)
	}
	return nil
}

func ownErrors(client *kurrentdb.Client) error {
	stream := fresh("order")
	_, err := appendTo(client, stream, kurrentdb.StreamExists{}, placed(1))
	if err = expect(err, kurrentdb.ErrorCodeWrongExpectedVersion); err != nil {
		return err
	}
	_, err = read(client, stream, kurrentdb.ReadStreamOptions{})
	return expect(err, kurrentdb.ErrorCodeResourceNotFound)
}

// nextEvent returns the next event, and how many checkpoints came before it.
func nextEvent(subscription *kurrentdb.Subscription) (*kurrentdb.ResolvedEvent, int, error) {
	for checkpoints := 0; ; {
		message := subscription.Recv()
		switch {
		case message.EventAppeared != nil:
			return message.EventAppeared, checkpoints, nil
		case message.CheckPointReached != nil:
			checkpoints++
		case message.SubscriptionDropped != nil:
			return nil, checkpoints, message.SubscriptionDropped.Error
		}
	}
}

func followsACategory(client *kurrentdb.Client) error {
	category := strings.ReplaceAll(fresh("user"), "-", "")
	if _, err := appendTo(client, category+"-1", kurrentdb.Any{}, placed(1)); err != nil {
		return err
	}
	ctx, cancel := patience()
	defer cancel()
	options := kurrentdb.SubscribeToStreamOptions{From: kurrentdb.Start{}, ResolveLinkTos: true}
	subscription, err := client.SubscribeToStream(ctx, "$ce-"+category, options)
	if err != nil {
		return err
	}
	defer subscription.Close()
	if _, _, err = nextEvent(subscription); err != nil {
		return err
	}
	second := placed(2)
	if _, err = appendTo(client, category+"-2", kurrentdb.Any{}, second); err != nil {
		return err
	}
	event, _, err := nextEvent(subscription)
	if err != nil {
		return err
	}
	if event.Event.EventID != second.EventID || event.Link.EventNumber != 1 {
		return fmt.Errorf("received %+v", event)
	}
	return nil
}

func followsAll(client *kurrentdb.Client) error {
	noise, wanted := fresh("noise"), fresh("wanted")
	for n := 0; n < 40; n++ {
		if _, err := appendTo(client, noise, kurrentdb.Any{}, placed(n)); err != nil {
			return err
		}
	}
	if _, err := appendTo(client, wanted, kurrentdb.Any{}, placed(1)); err != nil {
		return err
	}
	ctx, cancel := patience()
	defer cancel()
	subscription, err := client.SubscribeToAll(ctx, kurrentdb.SubscribeToAllOptions{
		From:               kurrentdb.Start{},
		MaxSearchWindow:    1,
		CheckpointInterval: 1,
		Filter: &kurrentdb.SubscriptionFilter{
			Type:     kurrentdb.StreamFilterType,
			Prefixes: []string{noise, wanted},
		},
	})
	if err != nil {
		return err
	}
	defer subscription.Close()
	checkpoints := 0
	for n := 0; n < 41; n++ {
		_, passed, err := nextEvent(subscription)
		if err != nil {
			return err
		}
		checkpoints += passed
	}
	if checkpoints == 0 {
		return errors.New("no checkpoint came")
	}
	return nil
}

func metadataAndDeletion(client *kurrentdb.Client) error {
	ctx, stream := context.Background(), fresh("order")
	if _, err := appendTo(client, stream, kurrentdb.Any{}, placed(1), placed(2)); err != nil {
		return err
	}
	metadata := kurrentdb.StreamMetadata{}
	metadata.SetMaxCount(1)
	options := kurrentdb.AppendToStreamOptions{StreamState: kurrentdb.Any{}}
	if _, err := client.SetStreamMetadata(ctx, stream, options, metadata); err != nil {
		return err
	}
	read1, err := read(client, stream, kurrentdb.ReadStreamOptions{})
	if err != nil || len(read1) != 1 {
		return fmt.Errorf("read %d events, %v", len(read1), err)
	}
	deleted, err := client.DeleteStream(ctx, stream, kurrentdb.DeleteStreamOptions{StreamState: kurrentdb.Any{}})
	if err != nil || deleted.Position.Commit == 0 {
		return fmt.Errorf("deleted with %+v, %v", deleted, err)
	}
	_, err = read(client, stream, kurrentdb.ReadStreamOptions{})
	if err = expect(err, kurrentdb.ErrorCodeResourceNotFound); err != nil {
		return err
	}
	if _, err = client.TombstoneStream(ctx, stream, kurrentdb.TombstoneStreamOptions{StreamState: kurrentdb.Any{}}); err != nil {
		return err
	}
	_, err = read(client, stream, kurrentdb.ReadStreamOptions{})
	return expect(err, kurrentdb.ErrorCodeStreamDeleted)
}

func appendsToSeveralStreams(client *kurrentdb.Client) error {
	ctx, order, stock := context.Background(), fresh("order"), fresh("stock")
	request := func(stream string, state kurrentdb.StreamState, events ...kurrentdb.EventData) kurrentdb.AppendStreamRequest {
		return kurrentdb.AppendStreamRequest{
			StreamName: stream, ExpectedStreamState: state, Events: slices.Values(events),
		}
	}
	first := []kurrentdb.AppendStreamRequest{
		request(order, kurrentdb.NoStream{}, placed(1), placed(2)),
		request(stock, kurrentdb.Any{}, placed(3)),
	}
	appended, err := client.MultiStreamAppend(ctx, slices.Values(first))
	if err != nil {
		return err
	}
	if appended.Position == 0 || len(appended.Responses) != 2 || appended.Responses[0].StreamRevision != 1 {
		return fmt.Errorf("the result was %+v", appended)
	}
	again, err := client.MultiStreamAppend(ctx, slices.Values(first))
	if err != nil || again.Position != appended.Position {
		return fmt.Errorf("a repeat was answered with %+v, %v", again, err)
	}
	second := []kurrentdb.AppendStreamRequest{
		request(order, kurrentdb.Revision(1), placed(4)),
		request(stock, kurrentdb.NoStream{}, placed(5)),
	}
	_, err = client.MultiStreamAppend(ctx, slices.Values(second))
	if err = expect(err, kurrentdb.ErrorCodeStreamRevisionConflict); err != nil {
		return err
	}
	events, err := read(client, order, kurrentdb.ReadStreamOptions{})
	if err != nil || len(events) != 2 {
		return fmt.Errorf("read %d events, %v", len(events), err)
	}
	return nil
}

func main() {
	url := "kurrentdb://" + os.Args[1] + "?tls=false"
	// A secured server is told by two variables: LOGIN:PASSWORD, and the file of the authority.
	if login := os.Getenv("GESTA_CLIENT_LOGIN"); login != "" {
		url = "kurrentdb://" + login + "@" + os.Args[1] + "?tlsCaFile=" + os.Getenv("GESTA_CLIENT_CA")
	}
	settings, err := kurrentdb.ParseConnectionString(url)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	client, err := kurrentdb.NewClient(settings)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer client.Close()
	failed := 0
	scenarios = append(append(scenarios, groupScenarios...), projectionScenarios...)
	for _, scenario := range scenarios {
		if err := scenario.run(client); err != nil {
			failed++
			fmt.Printf("FAILED  KurrentDB-Client-Go: %s: %v\n", scenario.name, err)
		} else {
			fmt.Printf("ok      KurrentDB-Client-Go: %s\n", scenario.name)
		}
	}
	fmt.Printf("%d of %d scenarios passed\n", len(scenarios)-failed, len(scenarios))
	if failed > 0 {
		os.Exit(1)
	}
}
