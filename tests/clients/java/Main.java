import io.kurrent.dbclient.EventData;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.KurrentDBConnectionString;
import io.kurrent.dbclient.ResolvedEvent;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/**
 * Appends, reads, subscriptions, groups and projections through the official package for Java.
 *
 * Usage: java -cp CLASSES:PACKAGES Main HOST:PORT
 */
public final class Main {
  static final long PATIENCE_SECONDS = 30;

  /** A scenario, which fails by an exception. */
  interface Scenario {
    void run(KurrentDBClient client) throws Exception;
  }

  /** A call that has to be refused. */
  interface Call {
    CompletableFuture<?> make();
  }

  /** A look at something that is going to happen. */
  interface Look {
    boolean holds() throws Exception;
  }

  static String fresh(String category) {
    return category + "-" + UUID.randomUUID().toString().replace("-", "");
  }

  static EventData placed(int n) {
    byte[] data = ("{\"n\":" + n + "}").getBytes(StandardCharsets.UTF_8);
    return EventData.builderAsJson(UUID.randomUUID(), "placed", data).build();
  }

  /** Returns the number in the data of an event. */
  static int number(ResolvedEvent event) {
    String data = new String(event.getEvent().getEventData(), StandardCharsets.UTF_8);
    return Integer.parseInt(data.replaceAll("\\D", ""));
  }

  static <Answer> Answer await(CompletableFuture<Answer> answer) throws Exception {
    return answer.get(PATIENCE_SECONDS, TimeUnit.SECONDS);
  }

  static void check(boolean condition, Object story) {
    if (!condition) {
      throw new AssertionError(story);
    }
  }

  /** Returns the error of a call that has to be refused with this class. */
  static <Kind extends Throwable> Kind refused(Class<Kind> kind, Call call) throws Exception {
    try {
      Object answer = await(call.make());
      throw new AssertionError("expected " + kind.getSimpleName() + ", got " + answer);
    } catch (ExecutionException error) {
      check(kind.isInstance(error.getCause()), "expected " + kind + ", got " + error.getCause());
      return kind.cast(error.getCause());
    }
  }

  /** Waits until a look succeeds. */
  static void eventually(Object story, Look look) throws Exception {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS);
    while (!look.holds()) {
      check(System.nanoTime() < end, "not in time: " + story);
      Thread.sleep(10);
    }
  }

  /** The URL of a server. Two variables tell of a secured one. */
  static String url(String address) {
    String login = System.getenv("GESTA_CLIENT_LOGIN");
    if (login == null) {
      return "kurrentdb://" + address + "?tls=false";
    }
    return "kurrentdb://" + login + "@" + address + "?tlsCaFile=" + System.getenv("GESTA_CLIENT_CA");
  }

  public static void main(String[] arguments) throws Exception {
    Map<String, Scenario> scenarios = new LinkedHashMap<>();
    Streams.addTo(scenarios);
    Groups.addTo(scenarios);
    Projections.addTo(scenarios);
    KurrentDBClient client =
        KurrentDBClient.create(KurrentDBConnectionString.parseOrThrow(url(arguments[0])));
    int failed = 0;
    for (Map.Entry<String, Scenario> scenario : scenarios.entrySet()) {
      String name = "kurrentdb-client for Java: " + scenario.getKey();
      try {
        scenario.getValue().run(client);
        System.out.println("ok      " + name);
      } catch (Exception | AssertionError error) {
        failed += 1;
        System.out.println("FAILED  " + name + ": " + error);
      }
    }
    await(client.shutdown());
    int all = scenarios.size();
    System.out.println((all - failed) + " of " + all + " scenarios passed");
    // Threads of the package would keep the program alive.
    System.exit(failed > 0 ? 1 : 0);
  }

  private Main() {}
}
