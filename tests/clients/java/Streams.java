import io.kurrent.dbclient.AppendStreamRequest;
import io.kurrent.dbclient.AppendToStreamOptions;
import io.kurrent.dbclient.DeleteResult;
import io.kurrent.dbclient.EventData;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.MultiStreamAppendResponse;
import io.kurrent.dbclient.Position;
import io.kurrent.dbclient.ReadAllOptions;
import io.kurrent.dbclient.ReadStreamOptions;
import io.kurrent.dbclient.ResolvedEvent;
import io.kurrent.dbclient.StreamDeletedException;
import io.kurrent.dbclient.StreamMetadata;
import io.kurrent.dbclient.StreamNotFoundException;
import io.kurrent.dbclient.StreamState;
import io.kurrent.dbclient.SubscribeToAllOptions;
import io.kurrent.dbclient.SubscribeToStreamOptions;
import io.kurrent.dbclient.Subscription;
import io.kurrent.dbclient.SubscriptionFilter;
import io.kurrent.dbclient.SubscriptionListener;
import io.kurrent.dbclient.WriteResult;
import io.kurrent.dbclient.WrongExpectedVersionException;
import java.time.Instant;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Appends, reads, subscriptions, metadata and deletion. */
final class Streams {
  static void addTo(Map<String, Main.Scenario> scenarios) {
    scenarios.put("appends with each expectation and reads back", Streams::appends);
    scenarios.put("conflicts and lost streams are own exceptions", Streams::ownExceptions);
    scenarios.put("the whole store is read and followed by filters", Streams::followsAll);
    scenarios.put("a category is followed with its links resolved", Streams::followsCategory);
    scenarios.put("metadata, deletion and tombstone", Streams::hides);
    scenarios.put("several streams are appended to together", Streams::appendsToSeveral);
  }

  static AppendToStreamOptions expecting(StreamState state) {
    return AppendToStreamOptions.get().streamState(state);
  }

  static List<ResolvedEvent> read(KurrentDBClient client, String stream) throws Exception {
    return Main.await(client.readStream(stream, ReadStreamOptions.get())).getEvents();
  }

  static List<Integer> numbers(List<ResolvedEvent> events) {
    return events.stream().map(Main::number).collect(Collectors.toList());
  }

  private static void appends(KurrentDBClient client) throws Exception {
    String stream = Main.fresh("order");
    EventData first = Main.placed(1);
    AppendToStreamOptions noStream = expecting(StreamState.noStream());
    WriteResult written = Main.await(client.appendToStream(stream, noStream, first));
    Main.check(written.getNextExpectedRevision().toRawLong() == 0, written);
    Main.check(written.getLogPosition().getCommitUnsigned() > 0, written);
    AppendToStreamOptions exact = expecting(StreamState.streamRevision(0));
    Main.await(client.appendToStream(stream, exact, Main.placed(2), Main.placed(3)));
    Main.await(client.appendToStream(stream, expecting(StreamState.streamExists()), Main.placed(4)));
    Main.await(client.appendToStream(stream, expecting(StreamState.any()), Main.placed(5)));
    WriteResult again = Main.await(client.appendToStream(stream, noStream, first));
    Main.check(again.getLogPosition().equals(written.getLogPosition()), again);
    List<ResolvedEvent> all = read(client, stream);
    Main.check(numbers(all).equals(Arrays.asList(1, 2, 3, 4, 5)), numbers(all));
    Main.check(all.get(0).getEvent().getEventId().equals(first.getEventId()), all.get(0));
    ReadStreamOptions rest = ReadStreamOptions.get().fromRevision(3).maxCount(1);
    List<ResolvedEvent> part = Main.await(client.readStream(stream, rest)).getEvents();
    Main.check(numbers(part).equals(Arrays.asList(4)), numbers(part));
    ReadStreamOptions back = ReadStreamOptions.get().backwards().fromEnd().maxCount(2);
    part = Main.await(client.readStream(stream, back)).getEvents();
    Main.check(numbers(part).equals(Arrays.asList(5, 4)), numbers(part));
  }

  private static void ownExceptions(KurrentDBClient client) throws Exception {
    String stream = Main.fresh("order");
    Main.Call read = () -> client.readStream(stream, ReadStreamOptions.get());
    Main.refused(StreamNotFoundException.class, read);
    AppendToStreamOptions exists = expecting(StreamState.streamExists());
    Main.Call late = () -> client.appendToStream(stream, exists, Main.placed(1));
    Main.refused(WrongExpectedVersionException.class, late);
    Main.await(client.appendToStream(stream, Main.placed(1)));
    for (StreamState wrong : Arrays.asList(StreamState.noStream(), StreamState.streamRevision(7))) {
      Main.Call append = () -> client.appendToStream(stream, expecting(wrong), Main.placed(2));
      WrongExpectedVersionException conflict =
          Main.refused(WrongExpectedVersionException.class, append);
      Main.check(conflict.getActualState().toRawLong() == 0, conflict);
      Main.check(conflict.getStreamName().equals(stream), conflict);
    }
  }

  /** A subscription whose events are taken one by one. */
  private static final class Received extends SubscriptionListener {
    private final BlockingQueue<ResolvedEvent> events = new LinkedBlockingQueue<>();
    private final CompletableFuture<Void> caughtUp = new CompletableFuture<>();

    @Override
    public void onEvent(Subscription subscription, ResolvedEvent event) {
      events.add(event);
    }

    @Override
    public void onCaughtUp(Subscription subscription, Instant at, Long revision, Position position) {
      caughtUp.complete(null);
    }

    ResolvedEvent next() throws Exception {
      ResolvedEvent event = events.poll(Main.PATIENCE_SECONDS, TimeUnit.SECONDS);
      Main.check(event != null, "no event came");
      return event;
    }
  }

  private static void followsAll(KurrentDBClient client) throws Exception {
    String noise = Main.fresh("noise");
    String wanted = Main.fresh("wanted");
    EventData[] many = IntStream.range(0, 100).mapToObj(Main::placed).toArray(EventData[]::new);
    Main.await(client.appendToStream(noise, many));
    Main.await(client.appendToStream(wanted, Main.placed(1)));
    ReadAllOptions last = ReadAllOptions.get().backwards().fromEnd().maxCount(1);
    ResolvedEvent end = Main.await(client.readAll(last)).getEvents().get(0);
    Main.check(end.getEvent().getStreamId().equals(wanted), end);
    AtomicInteger checkpoints = new AtomicInteger();
    SubscriptionFilter filter =
        SubscriptionFilter.newBuilder()
            .addStreamNamePrefix(wanted)
            .withMaxWindow(1)
            .withCheckpointer(
                (subscription, position) -> {
                  checkpoints.incrementAndGet();
                  return CompletableFuture.completedFuture(null);
                })
            .build();
    Received received = new Received();
    SubscribeToAllOptions options = SubscribeToAllOptions.get().fromStart().filter(filter);
    Subscription subscription = Main.await(client.subscribeToAll(received, options));
    Main.check(Main.number(received.next()) == 1, "the first event");
    Main.await(received.caughtUp);
    Main.check(checkpoints.get() > 0, "no checkpoint came");
    Main.await(client.appendToStream(wanted, Main.placed(2)));
    Main.check(Main.number(received.next()) == 2, "the live event");
    subscription.stop();
    Received typed = new Received();
    SubscriptionFilter byType =
        SubscriptionFilter.newBuilder().withEventTypeRegularExpression("^pla.*").build();
    options = SubscribeToAllOptions.get().fromStart().filter(byType);
    subscription = Main.await(client.subscribeToAll(typed, options));
    Main.check(typed.next().getEvent().getEventType().equals("placed"), "the type");
    subscription.stop();
  }

  private static void followsCategory(KurrentDBClient client) throws Exception {
    String category = Main.fresh("user").replace("-", "");
    Main.await(client.appendToStream(category + "-1", Main.placed(1)));
    Received received = new Received();
    SubscribeToStreamOptions options = SubscribeToStreamOptions.get().fromStart().resolveLinkTos();
    Subscription subscription =
        Main.await(client.subscribeToStream("$ce-" + category, received, options));
    Main.check(Main.number(received.next()) == 1, "the first event");
    Main.await(client.appendToStream(category + "-2", Main.placed(2)));
    ResolvedEvent live = received.next();
    Main.check(Main.number(live) == 2 && live.getLink().getRevision() == 1, live);
    subscription.stop();
  }

  private static void hides(KurrentDBClient client) throws Exception {
    String stream = Main.fresh("order");
    Main.await(client.appendToStream(stream, Main.placed(1), Main.placed(2), Main.placed(3)));
    StreamMetadata metadata = new StreamMetadata();
    metadata.setMaxCount(1L);
    Main.await(client.setStreamMetadata(stream, metadata));
    Main.check(Main.await(client.getStreamMetadata(stream)).getMaxCount() == 1, "the metadata");
    Main.check(numbers(read(client, stream)).equals(Arrays.asList(3)), "a maximum of one");
    DeleteResult deleted = Main.await(client.deleteStream(stream));
    Main.check(deleted.getPosition().getCommitUnsigned() > 0, deleted);
    Main.Call read = () -> client.readStream(stream, ReadStreamOptions.get());
    Main.refused(StreamNotFoundException.class, read);
    Main.await(client.appendToStream(stream, Main.placed(4)));
    ResolvedEvent revived = read(client, stream).get(0);
    Main.check(revived.getEvent().getRevision() == 3, revived);
    Main.await(client.tombstoneStream(stream));
    // The package has an exception of its own for appends only.
    Throwable gone = Main.refused(Throwable.class, read);
    Main.check(gone.toString().contains("is deleted"), gone);
    Main.Call append = () -> client.appendToStream(stream, Main.placed(5));
    Main.refused(StreamDeletedException.class, append);
  }

  private static AppendStreamRequest request(String stream, StreamState state, EventData... events) {
    return new AppendStreamRequest(stream, Arrays.asList(events).iterator(), state);
  }

  private static void appendsToSeveral(KurrentDBClient client) throws Exception {
    String order = Main.fresh("order");
    String stock = Main.fresh("stock");
    EventData[] events = {Main.placed(1), Main.placed(2), Main.placed(3)};
    Main.Call first =
        () ->
            client.multiStreamAppend(
                Arrays.asList(
                        request(order, StreamState.noStream(), events[0], events[1]),
                        request(stock, StreamState.any(), events[2]))
                    .iterator());
    MultiStreamAppendResponse appended = (MultiStreamAppendResponse) Main.await(first.make());
    Main.check(appended.getPosition() > 0, "the position");
    Main.check(appended.getResults().get(0).getStreamRevision() == 1, "the revision");
    MultiStreamAppendResponse again = (MultiStreamAppendResponse) Main.await(first.make());
    Main.check(again.getPosition() == appended.getPosition(), "a repeat");
    Main.Call wrong =
        () ->
            client.multiStreamAppend(
                Arrays.asList(
                        request(order, StreamState.streamRevision(1), Main.placed(4)),
                        request(stock, StreamState.noStream(), Main.placed(5)))
                    .iterator());
    WrongExpectedVersionException conflict =
        Main.refused(WrongExpectedVersionException.class, wrong);
    Main.check(conflict.getStreamName().equals(stock), conflict);
    Main.check(read(client, order).size() == 2, "nothing was appended");
  }

  private Streams() {}
}
