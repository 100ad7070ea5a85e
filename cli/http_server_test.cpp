// SPDX-License-Identifier: MIT
#include "cli/http_server.hpp"

#include <gtest/gtest.h>
#include <httplib.h>

namespace sgm::cli {
namespace {

class HttpServerTest : public testing::Test {
  protected:
    HttpServerTest() {
        server_.post("/echo", 100, [this](Bytes body) {
            ++handled_;
            return HttpReply{.status = 200, .body = {body.begin(), body.end()}};
        });
        server_.post("/throws", 100,
                     [](Bytes) -> HttpReply { throw std::runtime_error{"secret"}; });
        server_.get("/things", [](const std::string& name, const auto& keys) {
            if (keys.empty()) return HttpReply{};
            return HttpReply{.status = 200, .body = name + "," + keys.begin()->second};
        });
        port_ = server_.start("127.0.0.1", 0).value();
    }

    [[nodiscard]] httplib::Client client() const { return httplib::Client{"127.0.0.1", port_}; }

    HttpServer server_;
    std::uint16_t port_ = 0;
    std::atomic<int> handled_ = 0;
};

TEST_F(HttpServerTest, hands_over_the_body_and_returns_the_reply) {
    const std::string body{"\0\xff bytes", 8};
    const auto reply = client().Post("/echo", body, "application/octet-stream");
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->status, 200);
    EXPECT_EQ(reply->body, body);
}

TEST_F(HttpServerTest, gives_the_last_part_of_the_path_and_the_keys) {
    EXPECT_EQ(client().Get("/things/abc?wait=5")->body, "abc,5");
    EXPECT_EQ(client().Get("/things/abc")->status, 204);
    EXPECT_EQ(client().Get("/things/")->status, 404);
    EXPECT_EQ(client().Get("/things/a/b")->status, 404);
    EXPECT_EQ(client().Get("/others/abc")->status, 404);
}

TEST_F(HttpServerTest, a_body_that_is_too_large_never_reaches_the_handler) {
    EXPECT_EQ(client().Post("/echo", std::string(100, 'x'), "text/plain")->status, 200);
    EXPECT_EQ(handled_, 1);
    const auto refused = client().Post("/echo", std::string(101, 'x'), "text/plain");
    if (refused) {
        EXPECT_EQ(refused->status, 413);
    }
    auto compressing = client();
    compressing.set_compress(true);
    const auto unpacks_large = compressing.Post("/echo", std::string(100000, 'x'), "text/plain");
    if (unpacks_large) {
        EXPECT_EQ(unpacks_large->status, 413);
    }
    EXPECT_EQ(handled_, 1);
}

TEST_F(HttpServerTest, a_handler_that_fails_tells_the_peer_nothing_of_why) {
    const auto reply = client().Post("/throws", "", "text/plain");
    EXPECT_EQ(reply->status, 500);
    EXPECT_EQ(reply->body.find("secret"), std::string::npos);
    EXPECT_FALSE(reply->has_header("EXCEPTION_WHAT"));
}

TEST_F(HttpServerTest, a_port_in_use_is_refused_even_to_another_of_our_own) {
    HttpServer second;
    const auto started = second.start("127.0.0.1", port_);
    ASSERT_FALSE(started);
    EXPECT_TRUE(started.error().sentence.starts_with(
        "cannot listen on 127.0.0.1:" + std::to_string(port_) + ": the port is in use"));
}

TEST_F(HttpServerTest, stopping_twice_or_before_the_start_is_fine) {
    server_.stop();
    server_.stop();
    HttpServer{}.stop();
}

}  // namespace
}  // namespace sgm::cli
