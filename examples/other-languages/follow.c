/* Writes to an instance of a logmachine node and follows it. Usage: follow NODE COOKIE ENTRIES
   Compile with: cc -D_REENTRANT -pthread -I$EI/include follow.c -L$EI/lib -lei */
#include <ei.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>

#define RECEIVER ".error_logger.receiver.srv"

static ei_cnode self;
static int node;

static void fail(const char *what) {
    fprintf(stderr, "%s: error %d\n", what, erl_errno);
    exit(1);
}

/* Waits for the next message; links, which a subscription makes, and ticks are not for us. */
static void receive(ei_x_buff *message) {
    erlang_msg head;
    int result;
    do {
        message->index = 0;
        result = ei_xreceive_msg(node, &head, message);
        if (result == ERL_ERROR) fail("receive");
    } while (result == ERL_TICK || head.msgtype != ERL_SEND);
}

/* Prints the second element of a tuple. */
static void print(const char *what, const ei_x_buff *message) {
    int at = 0, version, arity;
    if (ei_decode_version(message->buff, &at, &version) || ei_decode_tuple_header(message->buff, &at, &arity) ||
        ei_skip_term(message->buff, &at))
        fail(what);
    printf("%s: ", what);
    ei_print_term(stdout, message->buff, &at);
    printf("\n");
}

/* Sends `{'$gen_call', {Pid, Reference}, Request}`; the answer is `{Reference, Reply}`. */
static void call(const ei_x_buff *request) {
    ei_x_buff message;
    erlang_ref reference;
    ei_make_ref(&self, &reference);
    ei_x_new_with_version(&message);
    ei_x_encode_tuple_header(&message, 3);
    ei_x_encode_atom(&message, "$gen_call");
    ei_x_encode_tuple_header(&message, 2);
    ei_x_encode_pid(&message, ei_self(&self));
    ei_x_encode_ref(&message, &reference);
    ei_x_append(&message, request);
    if (ei_reg_send(&self, node, RECEIVER, message.buff, message.index)) fail("call");
    ei_x_free(&message);
}

int main(int argc, char **argv) {
    struct in_addr loopback = {htonl(INADDR_LOOPBACK)};
    ei_x_buff request, message;
    int at = 0, left = argc > 3 ? atoi(argv[3]) : 0;
    if (argc < 4) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    ei_init();
    if (ei_connect_xinit(&self, "127.0.0.1", "c", "c@127.0.0.1", &loopback, argv[2], getpid())) fail("init");
    if ((node = ei_connect(&self, argv[1])) < 0) fail("connect");
    ei_x_new(&message);

    /* A cast is recorded and not answered. */
    ei_x_new_with_version(&request);
    ei_x_format_wo_ver(&request, "{'$gen_cast', {hello, c}}");
    if (ei_reg_send(&self, node, RECEIVER, request.buff, request.index)) fail("cast");

    /* A call is answered once the event is as durable as `sync` says. */
    request.index = 0;
    ei_x_format_wo_ver(&request, "{append, {hello, c}}");
    call(&request);
    receive(&message);
    print("append", &message);

    /* `rpc` reaches the functions of the Erlang module `logmachine`, and nothing else. */
    request.index = message.index = 0;
    ei_x_format_wo_ver(&request, "[error_logger, events]");
    if (ei_rpc(&self, node, "logmachine", "info", request.buff, request.index, &message)) fail("rpc");
    printf("events: ");
    ei_print_term(stdout, message.buff, &at);
    printf("\n");

    /* `{subscribe, From, Pid, Marker, MatchSpec}`: first the past, then entries as they are recorded. */
    request.index = 0;
    ei_x_encode_tuple_header(&request, 5);
    ei_x_encode_atom(&request, "subscribe");
    ei_x_encode_atom(&request, "earliest");
    ei_x_encode_pid(&request, ei_self(&self));
    ei_x_encode_atom(&request, "entry");
    ei_x_format_wo_ver(&request, "[{'$1', [], ['$1']}]");
    call(&request);
    while (left > 0) {
        /* `{entry, {{Mega, Sec, Micro}, Event}}`, or the answer to the call, which is tagged with its reference. */
        char marker[MAXATOMLEN];
        int begin = 0, version, arity;
        receive(&message);
        ei_decode_version(message.buff, &begin, &version);
        ei_decode_tuple_header(message.buff, &begin, &arity);
        if (ei_decode_atom(message.buff, &begin, marker)) {
            print("subscribe", &message);
        } else {
            print("entry", &message);
            left--;
        }
    }
    ei_close_connection(node);
    return 0;
}
