import com.ericsson.otp.erlang.*;

/** Writes to an instance of a logmachine node and follows it. Usage: Follow NODE COOKIE ENTRIES */
public class Follow {
    static final String RECEIVER = ".error_logger.receiver.srv";

    public static void main(String[] args) throws Exception {
        String logmachine = args[0];
        String host = logmachine.substring(logmachine.indexOf('@') + 1);
        OtpNode node = new OtpNode("java@" + host, args[1]);
        System.out.println("ping: " + node.ping(logmachine, 5000));

        // A cast is recorded and not answered; a call is answered once the event is as durable as `sync` says.
        OtpMbox calls = node.createMbox();
        OtpErlangObject event = tuple(atom("hello"), atom("java"));
        calls.send(RECEIVER, logmachine, tuple(atom("$gen_cast"), event));
        System.out.println("append: " + call(node, calls, logmachine, RECEIVER, tuple(atom("append"), event)));

        // `rpc` reaches the functions of the Erlang module `logmachine`, and nothing else.
        OtpErlangObject arguments = new OtpErlangList(new OtpErlangObject[] {atom("error_logger"), atom("events")});
        System.out.println("events: " + call(node, calls, logmachine, "rex",
                tuple(atom("call"), atom("logmachine"), atom("info"), arguments, atom("user"))));

        // Entries come to a mailbox of their own, first the past, then as they are recorded.
        OtpMbox entries = node.createMbox();
        OtpErlangMap options = new OtpErlangMap(
                new OtpErlangObject[] {atom("from"), atom("pid")},
                new OtpErlangObject[] {atom("earliest"), entries.self()});
        System.out.println("subscribe: " + call(node, calls, logmachine, RECEIVER, tuple(atom("subscribe"), options)));
        for (int count = Integer.parseInt(args[2]); count > 0; count--) {
            // {error_logger, {{Mega, Sec, Micro}, Event}}
            OtpErlangTuple message = (OtpErlangTuple) entries.receive(10000);
            System.out.println("entry: " + ((OtpErlangTuple) message.elementAt(1)).elementAt(1));
        }
        // The subscription ends with its mailbox.
        entries.close();
        node.close();
    }

    /** What `gen_server:call/2` does. */
    static OtpErlangObject call(OtpNode node, OtpMbox mbox, String to, String name, OtpErlangObject request)
            throws Exception {
        mbox.send(name, to, tuple(atom("$gen_call"), tuple(mbox.self(), node.createRef()), request));
        OtpErlangTuple answer = (OtpErlangTuple) mbox.receive(10000);
        return answer.elementAt(1);
    }

    static OtpErlangAtom atom(String name) {
        return new OtpErlangAtom(name);
    }

    static OtpErlangTuple tuple(OtpErlangObject... elements) {
        return new OtpErlangTuple(elements);
    }
}
